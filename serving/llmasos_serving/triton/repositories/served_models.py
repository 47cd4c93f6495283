"""The models that one server serves together, each from a repository of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.contract.classic_models import CLASSIC_MODELS
from llmasos.contract.repository import models_of
from llmasos.contract.served_names import checked_name, name_from, part_name
from llmasos.engine.plan import EnginePlan, Task
from llmasos.errors import InvalidRequestError
from llmasos_runtime.triton.encoding_metrics import MODEL as ENCODER_LABEL
from llmasos_runtime.triton.engine_metrics import MODEL as GENERATOR_LABEL

from llmasos_serving.triton.repositories.served_repository import check_repository


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRepository:
    """One repository to serve. name: by which clients ask for its model; by default the plan's.

    num_threads, kv_cache_bytes: of its engine, instead of what ServerOptions say for all.
    """

    repository: Path
    name: str | None = None
    num_threads: int | None = None
    kv_cache_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedModel:
    """A model and its place in a server. name: None for the only one, if nobody gave a name.

    is_plain: its parts have the plain names; else `contract.served_names` says them.
    """

    source: ServedRepository
    name: str | None
    task: Task
    is_plain: bool

    @property
    def plan(self) -> Path:
        """The directory of the engine plan."""
        return self.source.repository / PLAN_IN_REPOSITORY

    @property
    def metrics_label(self) -> str:
        """The label `model` of its engine's metrics."""
        if self.is_plain or self.name is None:
            return GENERATOR_LABEL if self.task == "generate" else ENCODER_LABEL
        return self.name

    def parts(self, *, classic_names: bool) -> dict[str, str]:
        """The Triton models that are made for it: each one's name and the model it is made of."""
        served = [m for m in models_of(self.task) if classic_names or m not in CLASSIC_MODELS]
        if self.name is None:
            return {model: model for model in served}
        if self.is_plain:
            return {self.name: "ensemble", **{model: model for model in served}}
        own = [m for m in served if m not in ("ensemble", *CLASSIC_MODELS)]
        return {self.name: "ensemble", **{part_name(self.name, model): model for model in own}}


def place_models(repositories: Sequence[ServedRepository]) -> tuple[PlacedModel, ...]:
    """Gives each repository its name and place; the first language model gets the plain names.

    Raises InvalidRequestError for a name that is given twice or is none, and what
    `check_repository` raises.
    """
    if not repositories:
        raise InvalidRequestError("a server needs at least one model")
    several = len(repositories) > 1
    found = [replace(one, repository=one.repository.resolve()) for one in repositories]
    tasks: list[Task] = [check_repository(one.repository) for one in found]
    plain = tasks.index("generate") if "generate" in tasks else 0
    names = [_name(one) if several or one.name is not None else None for one in found]
    for name in names:
        if name is not None and names.count(name) > 1:
            raise InvalidRequestError(
                f"two models would be served as {name!r}",
                hint="name=checkpoint gives one another name",
            )
    return tuple(
        PlacedModel(source=one, name=name, task=task, is_plain=number == plain)
        for number, (one, name, task) in enumerate(zip(found, names, tasks, strict=True))
    )


def repositories_of(
    given: Path | str | Sequence[ServedRepository],
) -> tuple[ServedRepository, ...]:
    """What a caller gives to be served: one repository's path, or several repositories."""
    if isinstance(given, str | Path):
        return (ServedRepository(repository=Path(given)),)
    return tuple(given)


def _name(one: ServedRepository) -> str:
    given = one.name
    if given is None:
        given = name_from(EnginePlan.read(one.repository / PLAN_IN_REPOSITORY).name)
    return checked_name(given)
