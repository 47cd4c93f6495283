"""What a plan will take of this machine's memory: see `llmasos_runtime.machine.memory_need`."""

from __future__ import annotations

from llmasos.engine.engine_io import OPENVINO_WEIGHTS_FILE
from llmasos.engine.network_sizes import NetworkSizes
from llmasos.engine.plan import EnginePlan, KVCachePrecision, Precision
from llmasos.openvino_import import ov

from llmasos_runtime.machine.memory_need import MemoryNeed, openvino_need
from llmasos_runtime.openvino.paged_model import computed_in


def plan_need(plan: EnginePlan, sizes: NetworkSizes) -> MemoryNeed:
    """Of a built plan for CPUs; sizes: of its network in its precision."""
    return openvino_need(
        sizes,
        plan.limits,
        precision=plan.precision,
        compute=here_computed_in(plan.precision, plan.kv_cache_precision),
        kv_cache=plan.kv_cache_precision,
        engine_bytes=plan.files[OPENVINO_WEIGHTS_FILE].size,
    )


def here_computed_in(precision: Precision, kv_cache: KVCachePrecision) -> KVCachePrecision:
    """What an engine computes in on this machine's CPU: bf16 or f32."""
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return computed_in(precision, kv_cache, capabilities)
