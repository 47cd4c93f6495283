"""What `make check-gpu` compares and measures with, on engines whose GPU is made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from llmasos.engine.nvidia_driver import GPU, find_driver
from llmasos.engine.plan import CheckpointRecord, EnginePlan, Precision
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_builder.tensorrt.verify import ALLOWED_IN_FP8
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.tensorrt.cuda import Cuda
from made_trt_engine import MadeGPU
from safetensors.numpy import load_file, save_file

from benchmarks import check_gpu
from benchmarks.gpu_parity import (
    Continuation,
    allowed_for,
    compare,
    continued_by_interpreter,
)
from benchmarks.gpu_speed import Speed, memory_bandwidth, speed_table


@pytest.fixture(scope="module")
def gpu(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> MadeGPU:
    directory = tmp_path_factory.mktemp("trt")
    return MadeGPU(tiny_llama, directory, max_seq_len=128, max_batch_size=4)


@pytest.fixture
def engine(gpu: MadeGPU) -> Iterator[Engine]:
    engine = gpu.engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def cpu_dir(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cpu") / "plan"
    build_plan(str(tiny_llama), directory, BuildOptions(precision="f32", max_seq_len=128))
    return directory


def continuation(*rows: list[float]) -> Continuation:
    logits = np.array(rows, np.float32)
    return Continuation(logits.argmax(axis=1).tolist(), logits)


def test_equal_tokens_lose_nothing() -> None:
    expected = continuation([0, 5, 1], [9, 0, 0])
    parity = compare("x", [[1, 0]], [expected], allowed=0.1)
    assert (parity.same, parity.total, parity.lost, parity.passed) == (2, 2, 0.0, True)


def test_another_token_may_be_as_much_less_likely_as_is_allowed() -> None:
    expected = continuation([0, 5, 4.9], [9, 0, 0])
    parity = compare("x", [[2, 2]], [expected], allowed=0.03)
    assert parity.lost == pytest.approx(0.1 / 5) and parity.passed and parity.same == 0
    assert not compare("x", [[2, 2]], [expected], allowed=0.01).passed
    assert "2.000% of the largest logit, 1.00% allowed" in str(
        compare("x", [[2, 2]], [expected], allowed=0.01)
    )


def test_nothing_is_compared_behind_the_first_other_token() -> None:
    expected = continuation([9, 0, 0], [0, 5, 4.99], [9, 0, 0])
    assert compare("x", [[0, 2, 1]], [expected], allowed=0.01).passed
    assert not compare("x", [[0, 0, 1]], [expected], allowed=0.01).passed


def test_a_right_engine_passes_every_comparison(
    engine: Engine, gpu: MadeGPU, cpu_dir: Path
) -> None:
    before = gpu.cuda.calls.count("cudaMemcpy3DAsync")
    parities = check_gpu.compare_all(engine, gpu.plan, cpu_dir, num_prompts=2)
    assert gpu.cuda.calls.count("cudaMemcpy3DAsync") > before, "no beginning was copied"
    assert len(parities) == 3
    for parity in parities:
        assert parity.passed and parity.same == parity.total > 10, str(parity)


@pytest.mark.parametrize(("precision", "num_comparisons"), [("fp16", 3), ("int8", 1)])
def test_smaller_precisions_part_no_more_than_is_allowed(
    tiny_llama: Path, tmp_path: Path, cpu_dir: Path, precision: Precision, num_comparisons: int
) -> None:
    """int8 is compared with its own network alone: it loses more than fp16 does."""
    gpu = MadeGPU(tiny_llama, tmp_path, precision=precision, max_seq_len=128)
    engine = gpu.engine()
    parities = check_gpu.compare_all(engine, gpu.plan, cpu_dir, num_prompts=4)
    engine.close()
    assert gpu.cuda.live() == []
    assert len(parities) == num_comparisons and all(parity.passed for parity in parities)
    assert parities[0].same == parities[0].total > 0


def test_an_engine_of_a_checkpoint_in_fp8_is_compared_with_that_network(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """Scales of what matrices are multiplied with are the checkpoint's, and far too large here."""
    checkpoint = tmp_path / "fp8"
    shutil.copytree(tiny_llama, checkpoint)
    config = json.loads((checkpoint / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "static"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    stored = load_file(checkpoint / "model.safetensors")
    for name in [name for name in stored if name.endswith("_proj.weight")]:
        stored[name] = stored[name].astype(ml_dtypes.float8_e4m3fn)
        stored[f"{name}_scale"] = np.ones(1, np.float32)
        stored[name.replace("weight", "input_scale")] = np.full(1, 1e6, np.float32)
    save_file(stored, checkpoint / "model.safetensors")
    gpu = MadeGPU(tiny_llama, tmp_path / "gpu", precision="fp8")
    source = CheckpointRecord(source=str(checkpoint), sha256="0" * 64)
    plan = gpu.plan.model_copy(update={"checkpoint": source})
    (same, other) = (
        continued_by_interpreter(plan, [prompt], 1)[0].logits for prompt in ((1, 2, 9), (3, 4, 9))
    )
    assert np.array_equal(same, other), "what other tokens say is not rounded to nothing"
    assert allowed_for(plan) == 2 * ALLOWED_IN_FP8 > allowed_for(gpu.plan)


def test_a_wrong_engine_fails(gpu: MadeGPU, cpu_dir: Path) -> None:
    engine = gpu.engine()
    interpreter: Any = gpu.library.interpreter
    run = interpreter.run

    def other_token(feeds: dict[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = run(feeds)
        outputs["candidate_ids"] = np.roll(outputs["candidate_ids"], 5, axis=1)
        return outputs

    interpreter.run = other_token
    try:
        parities = check_gpu.compare_all(engine, gpu.plan, cpu_dir, num_prompts=2)
    finally:
        del interpreter.run
        engine.close()
    assert allowed_for(gpu.plan) == 2e-3
    assert not any(parity.passed for parity in parities)


def test_speeds_are_of_whole_batches(engine: Engine) -> None:
    speeds = check_gpu.measure_all(engine, num_tokens=6, batches=(1, 3), prefill=60)
    assert [speed.name for speed in speeds] == [
        "decode, 1 at once",
        "decode, 3 at once",
        "prefill of 60",
    ]
    for speed, count in zip(speeds, (1, 3), strict=False):
        assert speed.steps_per_s is not None
        assert speed.tokens_per_s == pytest.approx(count * speed.steps_per_s)
    assert all(speed.tokens_per_s > 0 for speed in speeds)


def test_the_table_tells_the_share_of_the_bandwidth() -> None:
    speeds = [
        Speed(name="decode, 8 at once", tokens_per_s=8000, steps_per_s=1000),
        Speed(name="prefill of 512", tokens_per_s=50_000, steps_per_s=None),
    ]
    table = speed_table("t", speeds, weight_bytes=300_000_000, bandwidth=1e12)
    assert table.rows == (
        ("decode, 8 at once", "8,000", "1,000.0", "30.0%"),
        ("prefill of 512", "50,000", "-", "-"),
    )


def test_bandwidth_is_measured_by_copies_and_frees_what_it_took(gpu: MadeGPU) -> None:
    before = gpu.cuda.live()
    assert memory_bandwidth(Cuda(gpu.cuda), num_bytes=1 << 16, copies=3) > 0
    assert gpu.cuda.live() == before


def test_the_report_names_the_gpu_the_plan_and_the_bandwidth(
    gpu: MadeGPU, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_gpu, "memory_bandwidth", lambda _: 2e11)
    speeds = [Speed(name="decode, 1 at once", tokens_per_s=1, steps_per_s=1)]
    check_gpu.report("a GPU", gpu.plan, gpu.directory, speeds, Cuda(gpu.cuda))
    printed = capsys.readouterr().out
    assert "tiny in f32 on a GPU" in printed and "200 GB/s" in printed
    assert "decode, 1 at once" in printed


def test_the_whole_check_builds_verifies_compares_and_measures(
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """TensorRT compiles for a GPU that is not here; what then runs is that network, made up."""

    reuses: list[bool] = []

    def load(plan_dir: Path, options: EngineOptions) -> Engine:
        reuses.append(options.reuse_prefixes)
        plan = EnginePlan.load(plan_dir)
        assert plan.tensorrt is not None and plan.tensorrt.gpus == ("sm89",)
        sizes: dict[str, Any] = {
            "max_batch_size": plan.limits.max_batch_size,
            "max_seq_len": plan.limits.max_seq_len,
            "prefill_length": plan.tensorrt.prefill_length,
            "num_candidates": plan.tensorrt.num_candidates,
        }
        made = MadeGPU(tiny_llama, tmp_path / "made", **sizes)
        monkeypatch.setattr(check_gpu, "load_cuda", lambda: Cuda(made.cuda))
        return made.engine(reuse_prefixes=options.reuse_prefixes)

    monkeypatch.setattr(check_gpu, "find_gpu", lambda: ("made up", "sm89"))
    monkeypatch.setattr(check_gpu, "load_engine", load)
    monkeypatch.setattr(check_gpu, "memory_bandwidth", lambda _: 1e11)
    monkeypatch.setattr(check_gpu, "BATCHES", (1, 2))
    monkeypatch.setattr(check_gpu, "_MAX_SEQ_LEN", 128)
    monkeypatch.setattr(check_gpu, "_PREFILL", 40)
    monkeypatch.setattr(check_gpu, "_COMPARED", 8)
    arguments = ["--checkpoint", str(tiny_llama), "--precision", "f32", "--new-tokens", "4"]
    monkeypatch.setattr("sys.argv", ["check_gpu", *arguments, "--work", str(tmp_path)])
    assert check_gpu.main() == 0
    assert reuses == [True, False], "what is measured is computed, and not copied"
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("ok ") for line in lines) >= 10
    assert any(line.startswith("| decode, 2 at once |") for line in lines)


@pytest.mark.skipif(find_driver() is not None, reason="this machine may have a GPU")
def test_without_a_gpu_one_line_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["check_gpu"])
    assert check_gpu.main() == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: this machine has no NVIDIA driver, and so no GPU to check\n"


@pytest.mark.parametrize(("capability", "wanted"), [("sm89", "sm89"), ("sm90", "current")])
def test_it_builds_for_the_gpu_that_is_there(
    monkeypatch: pytest.MonkeyPatch, capability: str, wanted: str
) -> None:
    gpu = GPU(name="made up", capability=capability, total_bytes=1, free_bytes=1)

    class Driver:
        def gpus(self) -> tuple[GPU, ...]:
            return (gpu,)

    monkeypatch.setattr(check_gpu, "find_driver", Driver)
    assert check_gpu.find_gpu() == ("made up", wanted)
