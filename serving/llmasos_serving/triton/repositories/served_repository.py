"""A model repository as a server finds it: whole, of this release, with a plan that runs here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from llmasos.contract import PLAN_IN_REPOSITORY, model_configs, models_of
from llmasos.contract.repository import CONFIG_FILE
from llmasos.engine.plan import EnginePlan, Task
from llmasos.engine.plan_files import REBUILD
from llmasos.errors import PlanError, ServerError
from llmasos_runtime.load import check_target

from llmasos_serving.triton.links import holds_model


def check_repository(repository: Path) -> Task:
    """Returns the task of a repository's plan.

    Raises ServerError for what is no repository, PlanError for one that cannot run here.
    """
    if not holds_model(repository / "engine"):
        raise ServerError(
            f"{repository} is no model repository: engine/{CONFIG_FILE} is missing",
            hint="make one with `llmasos build`",
        )
    plan = EnginePlan.load(repository / PLAN_IN_REPOSITORY)
    missing = [name for name in models_of(plan.task) if not holds_model(repository / name)]
    if missing:
        raise ServerError(
            f"{repository} is no model repository: {missing[0]}/{CONFIG_FILE} is missing",
            hint="make one with `llmasos build`",
        )
    _refuse_other_declarations(repository, plan.task)
    _refuse_code_of_another_release(repository, plan.task)
    check_target(plan, repository / PLAN_IN_REPOSITORY)
    return plan.task


def _refuse_other_declarations(repository: Path, task: Task) -> None:
    """A model that lacks a tensor would load, and fail at the first request that has it."""
    for config in model_configs(task=task):
        path = repository / config.name / CONFIG_FILE
        text = path.read_text(encoding="utf-8", errors="replace")
        for tensor in (*config.inputs, *config.outputs):
            if f'name: "{tensor.name}"' not in text:
                raise PlanError(
                    f"{path} does not declare {tensor.name}: another release wrote it",
                    hint=REBUILD,
                )


def _refuse_code_of_another_release(repository: Path, task: Task) -> None:
    """A model that imports a module which has moved would fail only when Triton loads it."""
    for model in models_of(task):
        path = repository / model / "1" / "model.py"
        if not path.is_file():
            continue  # an ensemble has no code, and a missing file is told by Triton
        for name in _imports_of_ours(path):
            if not _is_there(name):
                raise PlanError(
                    f"{path} imports {name}, which is not here: another release wrote it",
                    hint=REBUILD,
                )


def _imports_of_ours(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # which Triton says with the line
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("llmasos"):
            yield node.module


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False
