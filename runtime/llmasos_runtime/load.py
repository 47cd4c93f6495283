"""Which engines run here, and on what: each target's own code is imported when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from llmasos.engine.plan import EnginePlan, Target
from llmasos.errors import PlanError

from llmasos_runtime.options import EngineOptions
from llmasos_runtime.runner import ModelRunner


def load_runner(plan: EnginePlan, directory: Path, options: EngineOptions) -> ModelRunner:
    """Compile or deserialize a plan's engine; raises PlanError in one line.

    directory: holds the plan's files, which have been checked.
    """
    if plan.target not in _LOADERS:
        raise PlanError(f"{plan.name} is run by TensorRT-LLM as a whole, not step by step")
    return _LOADERS[plan.target](plan, directory, options)


def check_target(plan: EnginePlan, directory: Path) -> None:
    """Raise PlanError, quickly, for a plan that could not be run on this machine."""
    if plan.target == "tensorrt":
        from llmasos_runtime.tensorrt.preflight import check_machine, check_ranks  # noqa: PLC0415

        check_ranks(plan)  # first: it is vain to ask for more GPUs
        check_machine(plan, directory)
    if plan.target == "tensorrt-llm":
        from llmasos_runtime.tensorrt_llm.library import check_installed  # noqa: PLC0415

        check_installed()


def _load_openvino(plan: EnginePlan, directory: Path, options: EngineOptions) -> ModelRunner:
    from llmasos_runtime.openvino.load import load_openvino  # noqa: PLC0415

    return load_openvino(plan, directory, options)


def _load_tensorrt(plan: EnginePlan, directory: Path, options: EngineOptions) -> ModelRunner:
    from llmasos_runtime.tensorrt.load import load_tensorrt  # noqa: PLC0415

    return load_tensorrt(plan, directory, options)


_LOADERS: Mapping[Target, Callable[[EnginePlan, Path, EngineOptions], ModelRunner]] = {
    "openvino": _load_openvino,
    "tensorrt": _load_tensorrt,
}
