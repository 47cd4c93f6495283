"""The engines that a report compares, each built into the cache unless it is there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmasos.engine.plan import EnginePlan, Precision
from llmasos.errors import InvalidRequestError

from llmasos_app.cache.engine_cache import find_built, find_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One engine of a report.

    name: the row's name. plan_dir: where its plan is. command: what builds or serves it.
    """

    name: str
    plan_dir: Path
    command: str


def reference_of(model: str, *, revision: str | None = None) -> Variant:
    """Returns the engine that the others are compared with: as it is built, or a checkpoint in
    f32.
    """
    return _variant(model, "f32", revision=revision)


def variants_of(
    models: Sequence[str], precisions: Sequence[Precision], *, revision: str | None = None
) -> list[Variant]:
    """Returns each built model as it is, and each checkpoint in each precision.

    Raises CheckpointError, PlanError, and InvalidRequestError for two that are the same.
    """
    found: dict[Path, Variant] = {}
    for model in models:
        for precision in precisions[:1] if find_built(model) is not None else precisions:
            variant = _variant(model, precision, revision=revision)
            if variant.plan_dir in found:
                raise InvalidRequestError(f"{variant.name} is given twice")
            found[variant.plan_dir] = variant
    return list(found.values())


def _variant(model: str, precision: Precision, *, revision: str | None) -> Variant:
    built = find_built(model)
    readable = Path(model).name or model
    if built is not None:
        precision = EnginePlan.read(built).precision
        command = f"llmasos serve {shlex.quote(model)}"
    else:
        built = find_plan(model, precision=precision, revision=revision)
        at = "" if revision is None else f" --revision {shlex.quote(revision)}"
        command = (
            f"llmasos build {shlex.quote(model)} --precision {precision}{at} --output repository"
        )
    return Variant(name=f"{readable} {precision}", plan_dir=built, command=command)
