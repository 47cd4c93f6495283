"""Which engines this release runs."""

from __future__ import annotations

from llmasos.errors import PlanError
from llmasos.plan import EnginePlan


def check_target(plan: EnginePlan) -> None:
    """Raise PlanError for an engine that nothing here can run."""
    if plan.target == "tensorrt":
        raise PlanError(
            f"{plan.name} is compiled for NVIDIA GPUs, whose engines this release compiles and "
            "checks but does not run yet",
            hint="build it for openvino to run it here",
        )
