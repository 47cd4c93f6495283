"""A plan for NVIDIA GPUs is loaded as any other: by its directory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from llmasos.engine import engine_io
from llmasos.engine.plan_files import record_file
from llmasos.errors import PlanError
from llmasos_runtime.load import check_target, load_engine
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.tensorrt import execution, load, preflight
from llmasos_runtime.tensorrt.cuda import Cuda
from made_engine import ask
from made_trt_engine import MadeGPU


@pytest.fixture
def gpu(tiny_llama: Path, tmp_path: Path) -> MadeGPU:
    """Its directory is a whole plan."""
    made = MadeGPU(tiny_llama, tmp_path / "plan")
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(tiny_llama / name, made.directory / name)
    files = {path.name: record_file(path) for path in made.directory.iterdir()}
    made.plan = made.plan.model_copy(update={"files": files})
    made.plan.write(made.directory)
    return made


@pytest.fixture
def with_gpu(gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch) -> MadeGPU:
    monkeypatch.setattr(load, "check_machine", lambda plan, directory: None)
    monkeypatch.setattr(load, "_import", lambda name: gpu.library)
    monkeypatch.setattr(load, "load_cuda", lambda: Cuda(gpu.cuda))
    return gpu


def test_a_directory_is_all_that_a_caller_gives(with_gpu: MadeGPU) -> None:
    engine = load_engine(with_gpu.directory)
    assert engine.plan.target == "tensorrt" and engine.block_size == 64
    assert engine.stats().num_blocks == 4
    assert len(ask(engine, max_tokens=7, ignore_eos=True).token_ids) == 7
    engine.close()
    assert with_gpu.cuda.live() == []


def test_limits_that_do_not_go_together_free_the_gpu(
    with_gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PlanError, match="max_batch_size must be at most the plan's 4, got 5"):
        with_gpu.engine(max_batch_size=5)
    assert with_gpu.cuda.live() == []


def test_a_gpu_without_room_to_run_in_is_refused_in_one_line(with_gpu: MadeGPU) -> None:
    for num_contexts in range(2):
        with_gpu.library.contexts.clear()
        with_gpu.library.most_contexts = num_contexts
        with pytest.raises(
            PlanError, match="tiny cannot be loaded: TensorRT cannot make a context"
        ):
            with_gpu.engine()
        assert with_gpu.cuda.live() == []


def test_a_tensorrt_that_does_not_start_says_so_in_one_line(
    with_gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(library: object, logger: object) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(type(with_gpu.library), "Runtime", start)
    with pytest.raises(PlanError, match="tiny cannot be loaded: TensorRT does not start: it does"):
        with_gpu.engine()


def test_the_machine_is_checked_before_anything_is_imported(
    gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PlanError("no GPU here")

    def fail(*_: Any) -> None:
        raise AssertionError("TensorRT was imported")

    monkeypatch.setattr(load, "check_machine", refuse)
    monkeypatch.setattr(load, "_import", fail)
    with pytest.raises(PlanError, match="no GPU here"):
        load_engine(gpu.directory)
    monkeypatch.setattr(preflight, "check_machine", refuse)
    with pytest.raises(PlanError, match="no GPU here"):
        check_target(gpu.plan, gpu.directory)


def test_a_plan_of_several_ranks_is_refused(
    with_gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = with_gpu.plan.tensorrt
    assert record is not None
    parallel = record.model_copy(update={"tensor_parallel_size": 2})
    with_gpu.plan = with_gpu.plan.model_copy(update={"tensorrt": parallel})
    with pytest.raises(PlanError, match="tiny has engines for 2 GPUs, one can be used"):
        with_gpu.engine()
    with pytest.raises(PlanError, match="tiny has engines for 2 GPUs"):  # not: no NVIDIA driver
        check_target(with_gpu.plan, with_gpu.directory)
    monkeypatch.setattr(load, "check_machine", preflight.check_machine)
    with pytest.raises(PlanError, match="tiny has engines for 2 GPUs"):
        load.load_tensorrt(with_gpu.plan, with_gpu.directory, EngineOptions())


def test_an_engine_that_wants_something_else_is_refused(
    with_gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tuple(name for name in engine_io.STEP_TENSORS if name != "kv_write_index")
    monkeypatch.setattr(execution, "STEP_TENSORS", known)
    with pytest.raises(PlanError, match="the engine has a tensor kv_write_index, which this"):
        with_gpu.engine()
    assert with_gpu.cuda.live() == []


def test_a_library_that_is_absent_is_named() -> None:
    with pytest.raises(PlanError, match="no_such_library cannot be loaded: No module"):
        load._import("no_such_library")
