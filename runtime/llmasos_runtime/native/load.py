"""Makes a runner of a native plan, or the model that evaluation asks for logits."""

from __future__ import annotations

from pathlib import Path

from llmasos.engine.native_engine import WEIGHTS_FILE
from llmasos.engine.plan import EnginePlan
from llmasos.errors import PlanError

from llmasos_runtime.kv_cache.cache_size import num_blocks
from llmasos_runtime.machine.resources import available_memory_bytes
from llmasos_runtime.native.code import code_for_this_machine, link, native_record
from llmasos_runtime.native.cores import cores_to_stay_on, num_usable_cores
from llmasos_runtime.native.forward import NativeModel
from llmasos_runtime.native.memory import Sizes, Weights
from llmasos_runtime.native.native_runner import NativeRunner
from llmasos_runtime.options import EngineOptions

_CACHE_SHARE = 0.25
"""Of the memory that is available, what the KV cache may take unless it is said."""


def load_native(plan: EnginePlan, directory: Path, options: EngineOptions) -> NativeRunner:
    """Link the plan's machine code and map its weights; raises PlanError."""
    model = load_native_model(
        plan, directory, num_threads=options.num_threads, pin_threads=options.pin_threads
    )
    available = available_memory_bytes() - model.sizes.num_bytes
    if options.kv_cache_bytes is not None and options.kv_cache_bytes > available:
        raise PlanError(
            f"kv_cache_bytes is {options.kv_cache_bytes} bytes; {max(0, available)} are available "
            "here"
        )
    count = num_blocks(
        plan.limits,
        options,
        block_size=model.block_size,
        block_bytes=model.block_bytes,
        available_bytes=int(max(0, available) * _CACHE_SHARE),
        available="a quarter of the memory",
    )
    return NativeRunner(model, num_blocks=count)


def load_native_model(
    plan: EnginePlan, directory: Path, *, num_threads: int | None, pin_threads: bool
) -> NativeModel:
    """num_threads: None is one for each core that may be used. Raises PlanError."""
    record, code = native_record(plan), code_for_this_machine(plan)
    sizes = Sizes.of(plan, record, num_threads=num_threads or num_usable_cores())
    needed, available = sizes.num_bytes, available_memory_bytes()
    if needed > available:
        raise PlanError(
            f"the buffers of {plan.name} need {needed} bytes, {available} are available here",
            hint="build it with a smaller --max-seq-len, or use fewer threads",
        )
    return NativeModel(
        plan=plan,
        record=record,
        sizes=sizes,
        weights=Weights(directory / WEIGHTS_FILE, num_layers=plan.num_layers),
        function=link(directory / code.file, code.symbol),
        cores=cores_to_stay_on() if pin_threads else None,
    )
