"""A recipe: a YAML file that names a checkpoint and what is done to it, stage by stage.

    checkpoint: smollm2-135m-instruct
    stages:
      - prune: {mlp-width: 75%, dataset: text.txt}
      - distill: {dataset: text.txt, steps: 100}
      - quantize: {format: W4A16, dataset: text.txt}
      - build: {precision: int4}
      - evaluate: {text: test.txt}

A stage is a command of `llmasos`, and its keys are that command's options. The recipe gives the
command its checkpoint, which is the one that the stage before it wrote, and its output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from llmasos.errors import InvalidRequestError
from llmasos.files.regular_file import read_regular

STAGES = ("prune", "distill", "quantize", "build", "evaluate")
FILES = frozenset({"dataset", "text"})
"""Options that name a file, beside the recipe unless the path is absolute."""
GIVEN = frozenset({"output", "json", "revision"})
"""Options that a stage may not set: the recipe does."""
_MAX_BYTES = 1 << 20
Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. place: how messages name it, such as `stages[1].distill`. options: of its
    command, by their names without dashes in front.
    """

    command: str
    place: str
    options: Mapping[str, Value | tuple[Value, ...]]

    def arguments(self) -> list[str]:
        """Returns the options as the command line has them."""
        found: list[str] = []
        for name, value in self.options.items():
            if isinstance(value, bool):
                found.append(f"--{name}" if value else f"--no-{name}")
                continue
            for one in value if isinstance(value, tuple) else (value,):
                found += [f"--{name}", str(one)]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """checkpoint: what the first stage begins with, and the teacher of every distillation."""

    checkpoint: str
    stages: tuple[Stage, ...]


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe. Raises InvalidRequestError, which names the place in the file."""
    content = read_regular(path, at_most=_MAX_BYTES, error=InvalidRequestError)
    try:
        found = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise InvalidRequestError(f"recipe {path} is not YAML: {said}") from error
    return _recipe(found, path.absolute().parent)


def _recipe(found: Any, directory: Path) -> Recipe:
    if not isinstance(found, dict) or set(found) != {"checkpoint", "stages"}:
        raise InvalidRequestError(
            f"a recipe has the keys checkpoint and stages, got {_named(found)}"
        )
    checkpoint, stages = found["checkpoint"], found["stages"]
    if not isinstance(checkpoint, str) or not checkpoint:
        raise InvalidRequestError(f"checkpoint must be a name or a path, got {checkpoint!r}")
    if not isinstance(stages, list) or not stages:
        raise InvalidRequestError(f"stages must be a list of at least one, got {stages!r}")
    beside = directory / checkpoint
    read = tuple(_stage(stage, f"stages[{i}]", directory) for i, stage in enumerate(stages))
    _check_order(read)
    return Recipe(checkpoint=str(beside) if beside.exists() else checkpoint, stages=read)


def _stage(found: Any, place: str, directory: Path) -> Stage:
    if isinstance(found, str):
        found = {found: None}
    if not isinstance(found, dict) or len(found) != 1:
        raise InvalidRequestError(f"{place} must be one command with its options, got {found!r}")
    ((command, options),) = found.items()
    if command not in STAGES:
        raise InvalidRequestError(f"{place} must be one of {', '.join(STAGES)}, got {command!r}")
    place = f"{place}.{command}"
    if options is None:
        options = {}
    if not isinstance(options, dict):
        raise InvalidRequestError(f"{place} must map options to values, got {options!r}")
    for name in options:
        if name in GIVEN:
            raise InvalidRequestError(f"{place}.{name} is set by the recipe itself")
    return Stage(
        command=command,
        place=place,
        options={
            str(name): _value(value, f"{place}.{name}", directory if name in FILES else None)
            for name, value in options.items()
        },
    )


def _value(value: Any, place: str, directory: Path | None) -> Value | tuple[Value, ...]:
    """directory: where a file that the value names is."""
    if isinstance(value, list):
        return tuple(_scalar(one, place) for one in value)
    scalar = _scalar(value, place)
    return str(directory / str(scalar)) if directory is not None else scalar


def _scalar(value: Any, place: str) -> Value:
    if not isinstance(value, str | int | float):
        raise InvalidRequestError(f"{place} must be a text, a number or true or false, got {value}")
    return value


def _check_order(stages: tuple[Stage, ...]) -> None:
    """Refuses a checkpoint that is made out of an engine."""
    is_built = False
    for stage in stages:
        makes = stage.command not in ("build", "evaluate")
        if is_built and makes:
            raise InvalidRequestError(f"{stage.place} needs a checkpoint, and comes after build")
        is_built = is_built or stage.command == "build"


def _named(found: Any) -> str:
    return ", ".join(map(str, found)) if isinstance(found, dict) and found else repr(found)
