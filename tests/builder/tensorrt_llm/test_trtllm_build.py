"""A plan for TensorRT-LLM compiles nothing and says exactly which checkpoint is to be loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from llmasos.contract import MODELS, PLAN_IN_REPOSITORY
from llmasos.engine.plan import PLAN_FILE, EnginePlan
from llmasos.engine.plan_files import FileRecord, check_files, record_file
from llmasos.errors import CheckpointError, InvalidRequestError, PlanError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.architectures.network import CacheLayout
from llmasos_builder.build import BuildOptions, build, build_plan
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.tensorrt_llm.refer import CheckpointSizes, checkpoint_sizes
from safetensors.numpy import load_file, save_file

CONFIG = {
    "vocab_size": 1000,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "max_position_embeddings": 300,
}


def options(**changes: Any) -> BuildOptions:
    return BuildOptions(**{"target": "tensorrt-llm", "precision": "f32", **changes})


def changed(checkpoint: Path, directory: Path, **config: Any) -> Path:
    """The checkpoint with these fields of its config changed; None leaves one out."""
    shutil.copytree(checkpoint, directory)
    path = directory / "config.json"
    fields = {**json.loads(path.read_text()), **config}
    path.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))
    return directory


def test_the_repository_is_the_same_and_the_plan_refers_to_the_checkpoint(
    tiny_llama: Path, tmp_path: Path
) -> None:
    repository = build(tiny_llama, tmp_path / "repository", options(max_seq_len=100))
    assert {path.name for path in repository.iterdir()} == set(MODELS)
    plan = EnginePlan.load(repository / PLAN_IN_REPOSITORY)
    assert set(plan.files) == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert (plan.target, plan.precision, plan.kv_cache_precision) == ("tensorrt-llm", "f32", "f32")
    assert (plan.vocab_size, plan.num_layers, plan.num_kv_heads, plan.head_size) == (259, 2, 2, 16)
    assert (plan.limits.max_seq_len, plan.eos_token_ids) == (100, (258,))
    assert plan.checkpoint.sha256 == open_checkpoint(tiny_llama).sha256()
    record = plan.tensorrt_llm
    assert record is not None
    assert Path(record.directory) == tiny_llama.absolute()
    weights = tiny_llama / "model.safetensors"
    assert record.files["model.safetensors"] == record_file(weights)
    check_files(Path(record.directory), record.files)
    text = "Grüße <|im_start|>user"
    assert Tokenizer.load(repository / PLAN_IN_REPOSITORY).encode(text) == Tokenizer.load(
        tiny_llama
    ).encode(text)


def test_each_file_of_the_checkpoint_is_hashed_once_and_after_what_can_be_refused(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: list[str] = []

    def counted(path: Path) -> str:
        digests.append(path.name)
        return record_file(path).sha256

    monkeypatch.setattr("llmasos_builder.checkpoint.checkpoint._sha256", counted)
    monkeypatch.setattr(
        "llmasos_builder.tensorrt_llm.refer.record_file",
        lambda path, **_: FileRecord(size=path.stat().st_size, sha256=counted(path)),
    )
    with pytest.raises(InvalidRequestError, match="max_seq_len must be at most"):
        build_plan(tiny_llama, tmp_path / "plan", options(max_seq_len=10**6))
    assert digests == []
    build_plan(tiny_llama, tmp_path / "plan", options())
    assert sorted(digests) == sorted(open_checkpoint(tiny_llama).files)


def test_any_file_of_the_checkpoint_that_changes_is_found(tiny_llama: Path, tmp_path: Path) -> None:
    copy = changed(tiny_llama, tmp_path / "copy")
    record = build_plan(copy, tmp_path / "plan", options()).tensorrt_llm
    assert record is not None
    for name in record.files:
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(PlanError, match=f"{name} has changed since it was built"):
            check_files(copy, record.files)
        (copy / name).write_bytes(content)
    (copy / "model.safetensors").unlink()
    with pytest.raises(PlanError, match=r"model\.safetensors is missing"):
        check_files(copy, record.files)


def test_a_network_that_is_not_defined_here_is_no_hindrance(
    tiny_llama: Path, tmp_path: Path
) -> None:
    foreign = changed(
        tiny_llama, tmp_path / "foreign", architectures=["NewForCausalLM"], model_type="new"
    )
    assert build_plan(foreign, tmp_path / "plan", options()).architecture == "NewForCausalLM"
    with pytest.raises(CheckpointError, match="NewForCausalLM"):
        build_plan(foreign, tmp_path / "other", BuildOptions(precision="f32"))


def test_sizes_are_read_by_their_usual_names() -> None:
    sizes = CheckpointSizes(
        vocab_size=1000,
        cache=CacheLayout(num_layers=3, num_kv_heads=2, head_size=8),
        max_position_embeddings=300,
    )
    assert checkpoint_sizes(CONFIG) == sizes
    without = {k: v for k, v in CONFIG.items() if k not in ("num_key_value_heads", "hidden_size")}
    assert checkpoint_sizes({**without, "head_dim": 24}).cache.head_size == 24
    assert checkpoint_sizes({**without, "head_dim": 24}).cache.num_kv_heads == 8
    with pytest.raises(CheckpointError, match="hidden_size"):
        checkpoint_sizes(without)


@pytest.mark.parametrize(
    ("named", "precision"), [("float16", "fp16"), ("bfloat16", "bf16"), (None, "f32")]
)
def test_the_precision_is_the_checkpoints_own(
    tiny_llama: Path, tmp_path: Path, named: str | None, precision: str
) -> None:
    made = changed(tiny_llama, tmp_path / "checkpoint", torch_dtype=None, dtype=named)
    plan = build_plan(made, tmp_path / "plan", options(precision=precision))
    assert (plan.precision, plan.kv_cache_precision) == (precision, precision)
    other = "bf16" if precision == "f32" else "f32"
    with pytest.raises(InvalidRequestError, match=f"own {precision}, got '{other}'.*--precision"):
        build_plan(made, tmp_path / "other", options(precision=other))


def test_of_weights_in_fp8_the_plan_says_so_and_keys_are_in_what_is_computed_in(
    tiny_llama: Path, tmp_path: Path
) -> None:
    quantization = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    made = changed(
        tiny_llama, tmp_path / "fp8", torch_dtype="bfloat16", quantization_config=quantization
    )
    weights = load_file(made / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    weights[name] = weights[name].astype(ml_dtypes.float8_e4m3fn)
    save_file({**weights, f"{name}_scale": np.ones(1, np.float32)}, made / "model.safetensors")
    plan = build_plan(made, tmp_path / "plan", options(precision="fp8"))
    assert (plan.precision, plan.kv_cache_precision) == ("fp8", "bf16")
    with pytest.raises(InvalidRequestError, match=r"own fp8, got 'bf16'.*--precision fp8"):
        build_plan(made, tmp_path / "other", options(precision="bf16"))


def test_a_type_that_has_no_precision_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    made = changed(tiny_llama, tmp_path / "checkpoint", torch_dtype="float64")
    with pytest.raises(CheckpointError, match=r"torch_dtype must be one of .*, got 'float64'"):
        build_plan(made, tmp_path / "plan", options())


def test_a_file_cannot_be_loaded_by_tensorrt_llm(smollm2_checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="loads Hugging Face directories, and smollm2"):
        build_plan(smollm2_checkpoint, tmp_path / "plan", options(precision="bf16"))
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int8"}, "precision must be one of f32, fp16, bf16, fp8 for tensorrt-llm"),
        ({"gpus": ("sm89",)}, "gpu is for target tensorrt, target is tensorrt-llm"),
        ({"full_logits": True}, "full_logits is for target tensorrt, target is tensorrt-llm"),
        ({"deterministic": True}, "deterministic is for target openvino"),
        ({"kv_cache_precision": "u8"}, "kv_cache_precision of target tensorrt-llm .* got 'u8'"),
        (
            {"kv_cache_precision": "bf16", "precision": "fp8"},
            "kv_cache_precision of target tensorrt-llm is what the checkpoint is computed in",
        ),
    ],
)
def test_what_the_target_lacks_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        options(**changes)


def test_a_plan_and_its_target_go_together(tiny_llama: Path, tmp_path: Path) -> None:
    build_plan(tiny_llama, tmp_path / "plan", options())
    path = tmp_path / "plan" / PLAN_FILE
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "tensorrt_llm": None}))
    with pytest.raises(PlanError, match="target tensorrt-llm does not go with tensorrt_llm None"):
        EnginePlan.load(tmp_path / "plan")
    record = {**fields["tensorrt_llm"], "directory": "relative"}
    path.write_text(json.dumps({**fields, "tensorrt_llm": record}))
    with pytest.raises(PlanError, match=r"tensorrt_llm\.directory"):
        EnginePlan.load(tmp_path / "plan")
