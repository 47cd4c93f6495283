"""Runs a network over packed texts on the CPU with OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmasos.engine.engine_io import OPENVINO_FILE
from llmasos.engine.plan import EnginePlan
from llmasos.engine.plan_files import REBUILD
from llmasos.errors import PlanError
from llmasos.forked import leave_to_parent
from llmasos.openvino_import import ov

from llmasos_runtime.encoding.packing import pack_texts
from llmasos_runtime.encoding.request import Rows, Tokens
from llmasos_runtime.machine.resources import num_physical_cores
from llmasos_runtime.openvino.activation_groups import activation_group
from llmasos_runtime.openvino.paged_model import computed_in
from llmasos_runtime.options import EngineOptions


class TextRunner:
    """Computes one step at a time."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled  # lives as long as this
        self._inputs = [port.any_name for port in compiled.inputs]
        self._request = compiled.create_infer_request()
        leave_to_parent(self)

    def run(self, texts: Sequence[Tokens]) -> Rows:
        """Returns the network's rows for these texts, in order, in an array of their own."""
        arrays = pack_texts(texts)
        for name in self._inputs:
            self._request.set_tensor(name, ov.Tensor(arrays[name], shared_memory=True))
        self._request.infer()
        rows: Rows = self._request.get_output_tensor(0).data.copy()
        return rows


def load_text_runner(plan: EnginePlan, directory: Path, options: EngineOptions) -> TextRunner:
    """Compiles the plan's IR for this CPU; raises PlanError if OpenVINO cannot."""
    core = ov.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    path = directory / OPENVINO_FILE
    try:
        model = core.read_model(path)
        quantized = not plan.deterministic and plan.precision in {"int8", "int4"}
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": computed_in(
                plan.precision, plan.kv_cache_precision, capabilities
            ),
            "INFERENCE_NUM_THREADS": options.num_threads or num_physical_cores(),
            "ENABLE_CPU_PINNING": options.pin_threads,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": activation_group(model) if quantized else 0,
        }
        return TextRunner(core.compile_model(model, "CPU", properties))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PlanError(f"{path} cannot be loaded: {reason}", hint=REBUILD) from error
