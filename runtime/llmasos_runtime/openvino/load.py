"""Loads the runner of a plan for CPUs."""

from __future__ import annotations

from pathlib import Path

from llmasos.engine.plan import EnginePlan
from llmasos.errors import PlanError

from llmasos_runtime.kv_cache.cache_size import num_blocks
from llmasos_runtime.machine.resources import available_memory_bytes, num_physical_cores
from llmasos_runtime.openvino.openvino_runner import OpenVINORunner
from llmasos_runtime.openvino.paged_model import load_paged_model
from llmasos_runtime.options import EngineOptions

_CACHE_SHARE = 0.25
"""Largest share of the available memory for the KV cache, unless kv_cache_bytes is set."""


def load_openvino(plan: EnginePlan, directory: Path, options: EngineOptions) -> OpenVINORunner:
    """Compiles the plan's IR for this CPU; raises PlanError."""
    _refuse_more_than_there_is(options.kv_cache_bytes)
    model = load_paged_model(
        plan,
        directory,
        num_threads=options.num_threads or num_physical_cores(),
        pin_threads=options.pin_threads,
    )
    count = num_blocks(
        plan.limits,
        options,
        block_size=model.block_size,
        block_bytes=model.block_bytes,
        available_bytes=int(available_memory_bytes() * _CACHE_SHARE),
        available="a quarter of the memory",
        parts=1 if plan.encoder_decoder is None else 2,
    )
    return OpenVINORunner(model, num_blocks=count)


def _refuse_more_than_there_is(kv_cache_bytes: int | None) -> None:
    """Refuses a cache above the available memory, which would end the process under load."""
    available = available_memory_bytes()
    if kv_cache_bytes is not None and kv_cache_bytes > available:
        raise PlanError(f"kv_cache_bytes is {kv_cache_bytes} bytes; {available} are available here")
