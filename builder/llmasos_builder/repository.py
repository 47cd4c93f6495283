"""The Triton model repository around an engine plan: its models, their code and declarations."""

from __future__ import annotations

import shutil
from pathlib import Path

from llmasos.contract import MODELS, models_of, write_repository_configs
from llmasos.engine.plan import Task
from llmasos.errors import PlanError

_MODEL_FILE = Path("1", "model.py")


def write_repository(directory: Path, task: Task = "generate") -> None:
    """Writes the models of a task into a directory; the plan belongs at PLAN_IN_REPOSITORY in
    it.
    """
    write_repository_configs(directory, task=task)
    template = _template()
    for model in models_of(task):
        source = template / model / _MODEL_FILE
        if source.is_file():  # an ensemble has no code
            shutil.copyfile(source, directory / model / _MODEL_FILE)


def model_sources() -> list[str]:
    """The models' code, which differs between repositories of different releases."""
    files = (_template() / model / _MODEL_FILE for model in MODELS)
    return [file.read_text(encoding="utf-8") for file in files if file.is_file()]


def _template() -> Path:
    """The models' code: inside the installed package, or in the source tree beside it."""
    package = Path(__file__).parent
    for place in (package / "model_repository", package.parents[1] / "model_repository"):
        if place.is_dir():
            return place
    raise PlanError("this installation of llmasos lacks model_repository", hint="install it again")
