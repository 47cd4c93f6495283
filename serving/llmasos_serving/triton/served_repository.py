"""A model repository as a server finds it: whole, of this release, with a plan that runs here."""

from __future__ import annotations

from pathlib import Path

from llmasos.contract import MODELS, PLAN_IN_REPOSITORY, model_configs
from llmasos.contract.repository import CONFIG_FILE
from llmasos.engine.plan import REBUILD, EnginePlan
from llmasos.errors import PlanError, ServerError
from llmasos_runtime.load import check_target

from llmasos_serving.triton.links import holds_model


def check_repository(repository: Path) -> None:
    """Raises ServerError for what is no repository, PlanError for one that cannot run here."""
    missing = [name for name in MODELS if not holds_model(repository / name)]
    if missing:
        raise ServerError(
            f"{repository} is no model repository: {missing[0]}/{CONFIG_FILE} is missing",
            hint="make one with `llmasos build`",
        )
    plan = EnginePlan.load(repository / PLAN_IN_REPOSITORY)
    _refuse_other_declarations(repository)
    check_target(plan, repository / PLAN_IN_REPOSITORY)


def _refuse_other_declarations(repository: Path) -> None:
    """A model that lacks a tensor would load, and fail at the first request that has it."""
    for config in model_configs():
        path = repository / config.name / CONFIG_FILE
        text = path.read_text(encoding="utf-8", errors="replace")
        for tensor in (*config.inputs, *config.outputs):
            if f'name: "{tensor.name}"' not in text:
                raise PlanError(
                    f"{path} does not declare {tensor.name}: another release wrote it",
                    hint=REBUILD,
                )
