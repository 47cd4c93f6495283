"""What an engine will take of the memory is said from headers, and is what it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.cpu_kind import cpu_flags
from llmasos.engine.engine_io import OPENVINO_WEIGHTS_FILE
from llmasos.engine.network_sizes import NetworkSizes
from llmasos.engine.plan import EnginePlan, Limits
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos.openvino_import import ov
from llmasos_app.cli.app import app
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_builder.checkpoint.huggingface.safetensors_weights import SafetensorsWeights
from llmasos_builder.sizes import network_sizes, plan_spec
from llmasos_runtime.machine.memory_need import MemoryNeed
from llmasos_runtime.openvino.memory import (
    here_computed_in,
    openvino_block_bytes,
    openvino_need,
)
from llmasos_runtime.openvino.paged_model import computed_in, load_paged_model
from llmasos_runtime.tensorrt.memory import tensorrt_need
from tiny import write_tiny_gemma2, write_tiny_llama
from typer.testing import CliRunner

from benchmarks.memory import measure, need_of, predict

OFF = 0.1 if "avx512f" in cpu_flags() else 0.2
"""The prediction was fitted where OpenVINO has kernels for AVX-512; its others take other room."""
PRECISIONS = ("f32", "bf16", "int8", "int4")
CACHES = [("f32", "f32"), ("f32", "u8"), ("bf16", "bf16"), ("bf16", "u8"), ("int8", "f32")]


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["plan", *arguments, "--json"])
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)


def sizes(**changed: Any) -> NetworkSizes:
    return replace(
        NetworkSizes(
            num_parameters=1000,
            embedding_bytes=400,
            layer_bytes=1600,
            head_bytes=0,
            matrix_bytes=2000,
            mlp_output_bytes=500,
            num_layers=2,
            num_heads=4,
            num_kv_heads=3,
            head_size=16,
            hidden_size=8,
            widest=32,
            vocab_size=50,
        ),
        **changed,
    )


@pytest.fixture(scope="module")
def plans(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Plans of the tiny Llama in a precision, with a KV cache in another."""

    def plan(precision: Any, kv_cache: Any = None, int4_except: tuple[str, ...] = ()) -> Path:
        path = tmp_path_factory.mktemp("plan") / "plan"
        options = BuildOptions(
            target="openvino",
            precision=precision,
            kv_cache_precision=kv_cache,
            int4_except=int4_except,
        )
        build_plan(tiny_llama, path, options)
        return path

    return plan


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_weigh_what_the_engine_file_then_does(
    plans: Callable[..., Path], precision: Any
) -> None:
    plan_dir = plans(precision)
    found = network_sizes(plan_spec(plan_dir), precision=precision, target="openvino")
    size = EnginePlan.read(plan_dir).files[OPENVINO_WEIGHTS_FILE].size
    # The file holds some constants besides, and what is equal twice only once.
    assert found.weight_bytes == pytest.approx(size, abs=2500)
    assert found.head_bytes == 0  # it is the embedding
    assert found.embedding_bytes == {"f32": 4, "bf16": 2, "int8": 1, "int4": 1}[
        precision
    ] * 259 * 64 + (259 * 4 if precision.startswith("int") else 0)


def test_a_tied_head_is_counted_once_and_packed(plans: Callable[..., Path]) -> None:
    found = network_sizes(plan_spec(plans("f32")), precision="f32", target="openvino")
    layer = 64 * 64 * 2 + 32 * 64 * 2 + 3 * 64 * 128
    assert found.num_parameters == 259 * 64 + 64 + 2 * (layer + 2 * 64)
    assert found.matrix_bytes == 4 * (259 * 64 + 2 * layer)
    assert found.mlp_output_bytes == 4 * 2 * 64 * 128


def test_matrices_that_an_int4_engine_keeps_in_int8_weigh_twice_as_much(
    plans: Callable[..., Path], tiny_llama: Path
) -> None:
    plan_dir = plans("int4", int4_except=("down_proj", "q_proj"))
    size = EnginePlan.read(plan_dir).files[OPENVINO_WEIGHTS_FILE].size
    assert need_of(plan_dir).mapped == size
    command = (str(tiny_llama), "--precision", "int4", "--memory", "1GB")
    kept = ("--int4-except", "down_proj", "--int4-except", "q_proj")
    before = run(*command, *kept)
    assert before["mapped_bytes"] == pytest.approx(size, abs=2500)
    assert run(str(plan_dir), "--memory", "1GB")["network"] == before["network"]
    assert run(*command)["mapped_bytes"] < before["mapped_bytes"] - 10_000
    with pytest.raises(InvalidRequestError, match="int4_except 'up' matches no matrix"):
        run(*command, "--int4-except", "up")


@pytest.mark.parametrize(("width", "bits", "scales"), [(96, 4, 3), (80, 8, 1)])
def test_matrices_without_int4_groups_are_counted_in_int8(
    tiny_llama: Path, width: int, bits: int, scales: int
) -> None:
    config = json.loads((tiny_llama / "config.json").read_text())
    spec = decoder_spec(config | {"intermediate_size": width})
    found = network_sizes(spec, precision="int4", target="openvino")
    assert found.mlp_output_bytes == 2 * 64 * (width * bits // 8 + scales * 4)


@pytest.mark.parametrize(("precision", "kv_cache"), CACHES)
def test_kv_blocks_are_as_large_as_the_compiled_engine_has_them(
    plans: Callable[..., Path], precision: Any, kv_cache: Any
) -> None:
    plan_dir = plans(precision, kv_cache)
    plan = EnginePlan.read(plan_dir)
    model = load_paged_model(plan, plan_dir, num_threads=1, pin_threads=False)
    need = need_of(plan_dir)
    assert (need.block_size, need.block_bytes) == (model.block_size, model.block_bytes)


def test_scores_with_a_soft_cap_take_memory_and_their_keys_are_kept_in_what_is_computed_in(
    tmp_path: Path,
) -> None:
    found: dict[float | None, Any] = {}
    for cap in (None, 1.0):
        checkpoint = write_tiny_gemma2(tmp_path / f"{cap}", cap=cap)
        found[cap] = run(str(checkpoint), "--memory", "1GB", "--target", "openvino")
    assert found[1.0]["network"]["num_soft_capped_heads"] == 4
    assert found[1.0]["activation_bytes"] > found[None]["activation_bytes"] + 10**6
    assert found[1.0]["kv_block_bytes"] > found[None]["kv_block_bytes"]
    plan = build_plan(tmp_path / "1.0", tmp_path / "plan", BuildOptions(target="openvino"))
    model = load_paged_model(plan, tmp_path / "plan", num_threads=1, pin_threads=False)
    after = run(str(tmp_path / "plan"), "--memory", "1GB")
    assert (after["kv_block_size"], after["kv_block_bytes"]) == (32, model.block_bytes)
    same = ("network", "activation_bytes", "kv_cache_precision", "kv_block_bytes")
    assert {key: after[key] for key in same} == {key: found[1.0][key] for key in same}


def test_no_weight_is_read(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: SafetensorsWeights, name: str) -> None:
        raise AssertionError(f"{name} is read")

    monkeypatch.setattr(SafetensorsWeights, "load", refuse)
    found = run(str(tiny_llama), "--precision", "bf16")
    assert found["network"]["num_parameters"] == 90_624
    assert found["mapped_bytes"] == 2 * 90_624 + 2 * 5 * 64  # norms are in f32


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    for file in tiny_llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"the checkpoint has no tensor model\.norm\.weight"):
        run(str(tmp_path))


def test_a_built_plan_has_what_its_checkpoint_was_said_to_take(
    plans: Callable[..., Path], tiny_llama: Path
) -> None:
    options = ("--target", "openvino", "--precision", "int8", "--memory", "1GB")
    before = run(str(tiny_llama), *options)
    after = run(str(plans("int8")), "--memory", "1GB")
    assert after["mapped_bytes"] == pytest.approx(before["mapped_bytes"], abs=2500)
    same = ("network", "packed_bytes", "activation_bytes", "kv_block_bytes", "limits")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}


def test_sequences_are_counted_in_whole_blocks_beside_all_else() -> None:
    need = MemoryNeed(
        mapped=100, packed=50, activations=30, overhead=20, block_size=32, block_bytes=10
    )
    assert need.without_cache == 200
    assert need.num_sequences(200 + 49, 33) == 2  # of two blocks each, where four fit
    assert need.num_sequences(200 + 49, 32) == 4
    assert need.num_sequences(150, 1) == 0


def test_memory_that_is_too_small_holds_no_sequence(tiny_llama: Path) -> None:
    assert set(run(str(tiny_llama), "--memory", "1MB")["num_sequences"].values()) == {0}
    result = CliRunner().invoke(app, ["plan", str(tiny_llama), "--memory", "1MB"])
    assert "none: it does not fit" in result.output


def test_memory_is_by_default_what_the_container_has(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "llmasos_runtime.machine.resources.available_memory_bytes", lambda: 12345678
    )
    assert run(str(tiny_llama))["memory_bytes"] == 12345678


def test_on_a_gpu_slots_are_as_long_as_a_sequence_may_be() -> None:
    need = tensorrt_need(sizes(), Limits(max_seq_len=100), compute="fp16")
    assert need.without_cache == 2000
    assert need.block_bytes == 100 * 2 * 2 * 3 * 16 * 2
    assert need.num_sequences(2000 + 2 * need.block_bytes, 1) == 2


def test_without_a_gpu_its_memory_must_be_given(tiny_llama: Path) -> None:
    command = (str(tiny_llama), "--target", "tensorrt", "--precision", "fp16")
    with pytest.raises(InvalidRequestError, match=r"memory must be given, .* this machine has 0"):
        run(*command)
    found = run(*command, "--memory", "1GB")
    assert (found["kv_cache_precision"], found["packed_bytes"]) == ("fp16", 0)


def test_a_cache_in_u8_has_scales_and_one_that_is_not_is_as_wide_as_the_numbers() -> None:
    assert openvino_block_bytes(sizes(), compute="f32", kv_cache="u8") == 2 * 3 * (
        (32 + 8) * 16 + 32 * (16 + 8)
    )
    assert openvino_block_bytes(sizes(), compute="f32", kv_cache="bf16") == 2 * 3 * 2 * 32 * 16 * 4


def test_a_cpu_without_bf16_computes_in_f32() -> None:
    assert computed_in("bf16", "bf16", ["FP32", "INT8"]) == "f32"
    assert computed_in("bf16", "bf16", ["FP32", "BF16"]) == "bf16"
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert here_computed_in("int8", "u8") == ("bf16" if has_bf16 else "f32")


def test_what_is_predicted_for_smollm2_is_what_a_process_grows_by(
    smollm2_checkpoint: str, tmp_path: Path
) -> None:
    plan_dir = tmp_path / "plan"
    build_plan(
        smollm2_checkpoint,
        plan_dir,
        BuildOptions(target="openvino", precision="int8", max_seq_len=2048),
    )
    growth = measure(plan_dir, 30 * 10**6)
    assert growth.num_blocks * need_of(plan_dir).block_bytes == pytest.approx(30e6, rel=0.02)
    measured = growth.loading + growth.filling
    assert predict(plan_dir, growth.num_blocks) == pytest.approx(measured, rel=OFF)
    assert growth.filling > 0.9 * 30e6


def test_what_is_predicted_for_few_and_wide_layers_is_what_a_process_grows_by(
    tmp_path: Path,
) -> None:
    checkpoint = write_tiny_llama(tmp_path / "wide", layers=3, hidden=1024, inner=4096)
    plan_dir = tmp_path / "plan"
    build_plan(checkpoint, plan_dir, BuildOptions(target="openvino", precision="int8"))
    growth = measure(plan_dir, 10 * 10**6)
    need = need_of(plan_dir)
    assert need.activations > 0.5 * need.without_cache
    measured = growth.loading + growth.filling
    assert predict(plan_dir, growth.num_blocks) == pytest.approx(measured, rel=OFF)


def test_a_sequence_keeps_the_text_of_its_encoder_as_well() -> None:
    limits = Limits(max_batch_size=4, max_num_tokens=64, max_seq_len=64)
    alone, both = (
        openvino_need(
            sizes(has_encoder=has_encoder),
            limits,
            precision="f32",
            compute="f32",
            kv_cache="f32",
        )
        for has_encoder in (False, True)
    )
    memory = both.without_cache + 8 * both.block_bytes
    assert alone.num_sequences(memory + 400, 64) == 2 * both.num_sequences(memory, 64) == 4
    assert both.mapped == alone.mapped + 400, "the embedding is stored for each part"
