"""`llmasos verify`: says where a TensorRT engine's network and its checkpoint's differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from llmasos.engine.plan import Precision
from llmasos.errors import PlanError
from llmasos_app.cli.app import app
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_builder.tensorrt.network import TensorRTGraph
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

pytest.importorskip("tensorrt_rtx")


def built(checkpoint: Path, directory: Path, precision: Precision = "fp16") -> Path:
    options = BuildOptions(
        target="tensorrt", gpus=("sm120",), precision=precision, max_seq_len=64, max_batch_size=2
    )
    build_plan(checkpoint, directory, options)
    return directory


@pytest.fixture(scope="module")
def checkpoint(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, which a test may change when it is the last to need it."""
    return Path(shutil.copytree(tiny_llama, tmp_path_factory.mktemp("copy") / "tiny"))


@pytest.fixture(scope="module")
def plan(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(checkpoint, tmp_path_factory.mktemp("plans") / "fp16")


def verify(plan_dir: Path) -> Result:
    return CliRunner().invoke(app, ["verify", str(plan_dir)])


def test_a_right_network_is_said_to_be_one_line_by_line(plan: Path) -> None:
    result = verify(plan)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("ok ")]
    for name in ("logits of prefill:", "logits of prefill beside decode:", "logits of decode 3:"):
        assert any(name in line for line in lines)
    for name in ("greedy tokens:", "candidates:", "log_sum_exp:"):
        assert any(name in line for line in lines)
    assert "interpret ..." in result.output and "compute the reference ..." in result.output


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8", "int4", "nvfp4"])
def test_every_precision_is_compared_with_what_is_left_of_the_weights(
    tiny_llama: Path, tmp_path: Path, precision: Precision
) -> None:
    result = verify(built(tiny_llama, tmp_path / "plan", precision))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("precision", ["fp8", "int8"])
def test_an_engine_of_a_checkpoint_in_fp8_is_compared_by_its_scales(
    tiny_llama: Path, tmp_path: Path, precision: Precision
) -> None:
    result = verify(built(in_fp8(tiny_llama, tmp_path / "fp8"), tmp_path / "plan", precision))
    assert result.exit_code == 0, result.output
    assert ("10.00% allowed" in result.output) == (precision == "fp8")


def in_fp8(checkpoint: Path, directory: Path) -> Path:
    """A copy whose projections are fp8, activations included."""
    shutil.copytree(checkpoint, directory)
    tensors = load_file(directory / "model.safetensors")
    for name in [name for name in tensors if name.endswith("proj.weight")]:
        scale = np.abs(tensors[name]).max() / np.float32(448)
        tensors[name] = (tensors[name] / scale).astype(ml_dtypes.float8_e4m3fn)
        tensors[f"{name}_scale"] = np.array([scale], np.float32)
        tensors[name.replace("weight", "input_scale")] = np.array([0.01], np.float32)
    save_file(tensors, directory / "model.safetensors")
    of_modelopt = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    (directory / "hf_quant_config.json").write_text(json.dumps(of_modelopt))
    return directory


def test_a_wrong_network_fails(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorRTGraph, "rotary", lambda _self, x, _frequencies: x)
    result = verify(plan)
    assert result.exit_code == 1
    assert "differs logits of decode 1:" in result.output


def test_a_checkpoint_on_the_hub_is_opened_at_its_revision(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def download(_repository: str, *, revision: str | None, **_: object) -> Path:
        asked.append(revision)
        return tiny_llama

    monkeypatch.setattr("llmasos_builder.checkpoint.source.download_repository", download)
    options = BuildOptions(
        target="tensorrt", gpus=("sm120",), precision="fp16", max_seq_len=64, revision="v2"
    )
    build_plan("org/tiny", tmp_path / "plan", options)
    result = verify(tmp_path / "plan")
    assert result.exit_code == 0, result.output
    assert asked == ["v2", "v2"]


def test_an_engine_for_cpus_is_refused(tiny_plan: Path) -> None:
    result = verify(tiny_plan)
    assert isinstance(result.exception, PlanError)
    assert "is built for openvino, only tensorrt can be verified" in str(result.exception)


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    result = verify(tmp_path)
    assert "is neither a built repository nor a plan" in str(result.exception)


def test_another_checkpoint_than_the_engines_is_refused(plan: Path, checkpoint: Path) -> None:
    config = checkpoint / "config.json"
    config.write_text(config.read_text() + "\n")
    result = verify(plan)
    assert isinstance(result.exception, PlanError)
    assert "is not the one that tiny was built from" in str(result.exception)
