"""A checkpoint becomes a repository that is ready to serve, or one clear error and nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmasos import __version__
from llmasos.contract import MODELS, PLAN_IN_REPOSITORY
from llmasos.engine.plan import PLAN_FILE, EnginePlan
from llmasos.errors import CheckpointError, InvalidRequestError, PlanError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.build import BuildOptions, build, build_plan
from llmasos_builder.checkpoint import open_checkpoint

PLAN_FILES = {
    "config.json",
    "openvino_model.bin",
    "openvino_model.xml",
    "tokenizer.json",
    "tokenizer_config.json",
}


def copy_of(checkpoint: Path, directory: Path, **config: Any) -> Path:
    """The checkpoint with these fields of its config changed."""
    shutil.copytree(checkpoint, directory)
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return directory


def test_a_repository_has_every_model_and_the_plan(tiny_repository: Path) -> None:
    assert {path.name for path in tiny_repository.iterdir()} == set(MODELS)
    for model in MODELS:
        assert (tiny_repository / model / "config.pbtxt").is_file()
        assert (tiny_repository / model / "1" / "model.py").is_file() == (
            model not in ("ensemble", "postprocessing")
        )
        assert (tiny_repository / model / "1").is_dir()
    plan_dir = tiny_repository / PLAN_IN_REPOSITORY
    assert {path.name for path in plan_dir.iterdir()} == {*PLAN_FILES, PLAN_FILE}


def test_the_plan_says_what_was_built(tiny_llama: Path, tiny_plan: Path) -> None:
    plan = EnginePlan.load(tiny_plan)
    assert plan.name == "tiny-llama"
    assert plan.architecture == "LlamaForCausalLM"
    assert (plan.precision, plan.kv_cache_precision, plan.deterministic) == ("f32", "f32", False)
    assert (plan.vocab_size, plan.num_layers) == (259, 2)
    assert (plan.num_kv_heads, plan.head_size) == (2, 16)
    assert plan.limits.max_seq_len == 512
    assert plan.eos_token_ids == (258,)
    assert plan.checkpoint.source == str(tiny_llama)
    assert plan.checkpoint.sha256 == open_checkpoint(tiny_llama).sha256()
    assert plan.built_with["llmasos"] == __version__
    assert set(plan.built_with) >= {"openvino", "python", "tokenizers", "numpy"}
    assert set(plan.files) == PLAN_FILES


def test_the_plans_tokenizer_is_the_checkpoints(tiny_llama: Path, tiny_plan: Path) -> None:
    text = "Grüße <|im_start|>user 😀"
    assert Tokenizer.load(tiny_plan).encode(text) == Tokenizer.load(tiny_llama).encode(text)


LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0] * 8,
    "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
}


def test_an_engine_is_for_short_texts_until_longer_ones_are_asked_for(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """With longrope both are other networks."""
    made = copy_of(
        tiny_llama,
        tmp_path / "long",
        rope_scaling=LONGROPE,
        rope_parameters=None,
        original_max_position_embeddings=64,
    )
    plans = {
        length: build_plan(
            made, tmp_path / f"{length}", BuildOptions(target="openvino", max_seq_len=length)
        )
        for length in (None, 64, 65, 512)
    }
    assert plans[None].limits.max_seq_len == 64
    network = {length: plan.files["openvino_model.bin"].sha256 for length, plan in plans.items()}
    assert network[None] == network[64] != network[65] == network[512]
    with pytest.raises(InvalidRequestError, match="max_seq_len must be at most 512"):
        build_plan(made, tmp_path / "longer", BuildOptions(max_seq_len=513))


def test_fields_of_the_config_that_nobody_reads_are_named_once(
    tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = BuildOptions(target="openvino")
    build_plan(copy_of(tiny_llama, tmp_path / "odd", mup_scale=0.5), tmp_path / "plan", options)
    warnings = [record.message for record in caplog.records if record.name == "llmasos.build"]
    assert len(warnings) == 1 and "config.json: mup_scale (0.5): not read" in warnings[0]
    caplog.clear()
    usual = copy_of(tiny_llama, tmp_path / "usual", unsloth_fixed=True)
    build_plan(usual, tmp_path / "other", options)
    assert not [record for record in caplog.records if record.name == "llmasos.build"]


def test_options_reach_the_plan(tiny_llama: Path, tmp_path: Path) -> None:
    options = BuildOptions(
        precision="int8",
        kv_cache_precision="bf16",
        max_seq_len=100,
        max_batch_size=3,
        max_num_tokens=50,
        name="mine",
    )
    plan = build_plan(tiny_llama, tmp_path / "plan", options)
    assert plan == EnginePlan.load(tmp_path / "plan")
    assert (plan.name, plan.precision, plan.kv_cache_precision) == ("mine", "int8", "bf16")
    limits = plan.limits
    assert (limits.max_seq_len, limits.max_batch_size, limits.max_num_tokens) == (100, 3, 50)


@pytest.mark.parametrize(
    ("precision", "expected"), [("int8", "u8"), ("int4", "u8"), ("bf16", "bf16")]
)
def test_the_cache_is_u8_for_int8_and_int4_and_else_as_the_weights(
    tiny_llama: Path, tmp_path: Path, precision: Any, expected: str
) -> None:
    plan = build_plan(tiny_llama, tmp_path / "plan", BuildOptions(precision=precision))
    assert plan.kv_cache_precision == expected


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_deterministic_plan_keeps_and_computes_in_f32(
    tiny_llama: Path, tmp_path: Path, precision: Any
) -> None:
    options = BuildOptions(target="openvino", precision=precision, deterministic=True)
    plan = build_plan(tiny_llama, tmp_path / "plan", options)
    assert (plan.deterministic, plan.kv_cache_precision) == (True, "f32")
    with pytest.raises(InvalidRequestError, match="deterministic plan must be f32, got 'u8'"):
        BuildOptions(precision=precision, deterministic=True, kv_cache_precision="u8")


def test_matrices_that_an_int4_plan_keeps_in_int8_are_in_its_manifest(
    tiny_llama: Path, tmp_path: Path
) -> None:
    options = BuildOptions(precision="int4", int4_except=("layers.1.mlp",))
    plan = build_plan(tiny_llama, tmp_path / "plan", options)
    assert plan == EnginePlan.load(tmp_path / "plan")
    assert plan.int8_matrices == (
        "model.embed_tokens",
        "model.layers.1.mlp.gate_proj",
        "model.layers.1.mlp.up_proj",
        "model.layers.1.mlp.down_proj",
    )
    for precision in ("int8", "f32"):
        plan = build_plan(tiny_llama, tmp_path / "plan", BuildOptions(precision=precision))
        assert plan.int8_matrices == ()


def test_a_pattern_without_a_matrix_ends_the_build(tiny_llama: Path, tmp_path: Path) -> None:
    options = BuildOptions(precision="int4", int4_except=("down_proj", "layers.2"))
    with pytest.raises(InvalidRequestError, match=r"int4_except 'layers\.2' matches no"):
        build_plan(tiny_llama, tmp_path / "plan", options)


def test_a_very_long_model_gets_sequences_of_8192(tiny_llama: Path, tmp_path: Path) -> None:
    long = copy_of(tiny_llama, tmp_path / "long", max_position_embeddings=131072)
    assert build_plan(long, tmp_path / "a").limits.max_seq_len == 8192
    options = BuildOptions(max_seq_len=20000)
    assert build_plan(long, tmp_path / "b", options).limits.max_seq_len == 20000


def test_sequences_longer_than_the_model_was_trained_for_are_refused(
    tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequestError, match=r"max_seq_len must be at most 512, .* got 513"):
        build_plan(tiny_llama, tmp_path / "plan", BuildOptions(max_seq_len=513))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"precision": "int3"},
            "precision must be one of f32, bf16, int8, int4 for auto, got 'int3'",
        ),
        ({"kv_cache_precision": "u4"}, "kv_cache_precision must be one of .* got 'u4'"),
        ({"int4_except": ("head",)}, "int4_except is for .* int4, they are auto and int8"),
        ({"max_seq_len": 1}, "max_seq_len must be at least 2, got 1"),
        ({"max_batch_size": 0}, "max_batch_size must be at least 1, got 0"),
        ({"max_num_tokens": -5}, "max_num_tokens must be at least 1, got -5"),
        ({"name": " "}, "name must not be empty"),
    ],
)
def test_an_option_out_of_range_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        replace(BuildOptions(), **fields)


def test_progress_is_told_to_its_end(tiny_llama: Path, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    build(tiny_llama, tmp_path / "out", progress=lambda *report: reports.append(report))
    last = {stage: (done, total) for stage, done, total in reports}
    assert set(last) == {"compile", "check"}
    for stage, (done, total) in last.items():
        assert done == total > 0, stage


def test_a_failed_build_leaves_nothing(tiny_llama: Path, tmp_path: Path) -> None:
    broken = copy_of(tiny_llama, tmp_path / "broken", num_hidden_layers=3)
    with pytest.raises(CheckpointError, match=r"model\.layers\.2\."):
        build(broken, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_an_older_repository_is_replaced_and_other_work_is_not(
    tiny_llama: Path, tmp_path: Path
) -> None:
    output = build(tiny_llama, tmp_path / "out")
    (output / "engine" / "1" / "old").write_text("x")
    assert build(str(tiny_llama), str(output)) == output
    assert not (output / "engine" / "1" / "old").exists()
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(PlanError, match="was not written by LLMasOS"):
        build(tiny_llama, tmp_path)


def test_two_builds_are_the_same_bytes(tiny_llama: Path, tmp_path: Path) -> None:
    plans = [build_plan(tiny_llama, tmp_path / name) for name in "ab"]
    assert plans[0] == plans[1]


def test_an_unsupported_architecture_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    odd = copy_of(tiny_llama, tmp_path / "odd", architectures=["OddForCausalLM"], model_type="odd")
    with pytest.raises(CheckpointError, match=r"(?s)[Oo]dd.*[Ll]lama"):
        build(odd, tmp_path / "out")
