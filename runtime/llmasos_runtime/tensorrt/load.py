"""Loads the runner of a plan for NVIDIA GPUs."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llmasos.engine.plan import EnginePlan, Limits
from llmasos.errors import PlanError

from llmasos_runtime.kv_cache.cache_size import num_blocks
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.tensorrt.cuda import Cuda, CudaError, load_cuda
from llmasos_runtime.tensorrt.execution import TensorRTEngine, TensorRTError
from llmasos_runtime.tensorrt.kv_slots import SlotCacheTensor
from llmasos_runtime.tensorrt.preflight import check_machine, check_ranks
from llmasos_runtime.tensorrt.runtime_cache import RuntimeCache
from llmasos_runtime.tensorrt.staging import ALIGNMENT
from llmasos_runtime.tensorrt.tensorrt_runner import TensorRTRunner

_CACHE_SHARE = 0.9
"""Largest share of the free GPU memory for the KV cache."""


def load_tensorrt(plan: EnginePlan, directory: Path, options: EngineOptions) -> TensorRTRunner:
    """Deserializes the plan's engine on this machine's first GPU.

    Raises PlanError for a plan compiled for another machine, for an engine that TensorRT does not
    load, and if not even one sequence fits the GPU's memory.
    """
    check_ranks(plan)
    check_machine(plan, directory)
    assert plan.tensorrt is not None
    library = _import(plan.tensorrt.library)
    return make_runner(plan, directory, options, library=library, cuda=load_cuda())


def make_runner(
    plan: EnginePlan, directory: Path, options: EngineOptions, *, library: Any, cuda: Cuda
) -> TensorRTRunner:
    """Does what `load_tensorrt` does, with this TensorRT and CUDA."""
    check_ranks(plan)
    record = plan.tensorrt
    assert record is not None
    resources = ExitStack()
    try:
        cuda.call("cudaSetDevice", 0)
        (file,) = record.engine_files
        engine = TensorRTEngine(library, cuda, directory / file, RuntimeCache(directory))
        resources.callback(engine.close)
        num_slots = _num_slots(plan.limits, options, engine.caches(), cuda)
        return TensorRTRunner(plan, engine, cuda, num_slots=num_slots, resources=resources)
    except (CudaError, TensorRTError) as error:
        resources.close()
        raise PlanError(f"{plan.name} cannot be loaded: {error}") from error
    except BaseException:
        resources.close()
        raise


def _num_slots(
    limits: Limits, options: EngineOptions, caches: tuple[SlotCacheTensor, ...], cuda: Cuda
) -> int:
    for cache in caches:
        if not cache.is_aligned:
            raise PlanError(
                f"max_seq_len {limits.max_seq_len} makes a slot of {cache.input} "
                f"{cache.slot_bytes} bytes, which must be a multiple of {ALIGNMENT}",
                hint="build it with a --max-seq-len that is a multiple of 128",
            )
    free, _ = cuda.memory_info()
    most = options.max_batch_size or limits.max_batch_size
    count = num_blocks(
        limits,
        options,
        block_size=limits.max_seq_len,
        block_bytes=sum(cache.slot_bytes for cache in caches),
        available_bytes=int(free * _CACHE_SHARE),
        available="nine tenths of the free GPU memory",
    )
    return min(count, most, limits.max_batch_size)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise PlanError(f"{name} cannot be loaded: {error}") from error
