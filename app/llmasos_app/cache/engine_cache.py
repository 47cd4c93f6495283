"""Find the built engine that a caller means, building it into the cache on first use."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from llmasos.cache import engines_dir, expanded
from llmasos.cache_lock import locked
from llmasos.contract import PLAN_IN_REPOSITORY, model_configs
from llmasos.engine.native_engine import FORMAT as NATIVE_FORMAT
from llmasos.engine.plan import PLAN_FILE, PLAN_VERSION, Precision, Task
from llmasos.errors import CheckpointError, PlanError
from llmasos.progress import show_progress
from llmasos.version import __version__

from llmasos_app.cache.engine_store import make_room, size_limit

_MAX_NAME_LENGTH = 48
_log = logging.getLogger("llmasos.cache")

__all__ = ["find_built", "find_plan", "find_repository"]


def find_built(path: Path | str) -> Path | None:
    """The plan directory inside what `llmasos build` wrote: a repository, or a plan itself.

    Raises CheckpointError for a path that cannot be looked at.
    """
    path = expanded(path)
    for plan_dir in (path, path / PLAN_IN_REPOSITORY):
        if _is_file(plan_dir / PLAN_FILE):
            return plan_dir
    return None


def find_plan(model: Path | str, *, precision: Precision, revision: str | None = None) -> Path:
    """The plan directory of a built model, or of a checkpoint after building it if need be."""
    built = find_built(model)
    if built is not None:
        return built
    return find_repository(model, precision=precision, revision=revision) / PLAN_IN_REPOSITORY


def find_repository(
    model: Path | str, *, precision: Precision, revision: str | None = None
) -> Path:
    """The Triton model repository of a model, built into the cache unless it is there.

    A checkpoint is known by what a build of it would read (`llmasos_builder.fingerprint`); the
    versions of what would build it, the kind of this machine's processor, the tensors of its
    models and their code count too. A new engine may push those unused for longest out of the
    cache (`llmasos_app.cache.engine_store`). The plan inside a repository stands for it.

    Raises CheckpointError, and PlanError for a plan alone or a cache that cannot be written.
    """
    plan_dir = find_built(model)
    if plan_dir is not None:
        return _repository_of(plan_dir)
    repository = engines_dir() / _name(model, precision=precision, revision=revision)
    manifest = repository / PLAN_IN_REPOSITORY / PLAN_FILE
    if manifest.is_file() and not os.access(repository.parent, os.W_OK):
        return repository  # nothing can be noted there, nor removed
    with locked(repository, wait=True):  # others that want the same engine wait for it
        is_new = not manifest.is_file()
        if is_new:
            size_limit()  # is read before the work, and not only behind it
            _build(model, repository, precision=precision, revision=revision)
        with suppress(OSError):  # another's, in a cache that is shared
            os.utime(manifest.parent)  # used now
    if is_new:
        _make_room(repository)
    return repository


def _repository_of(plan_dir: Path) -> Path:
    num_levels = len(PLAN_IN_REPOSITORY.parts)
    for path in (plan_dir, plan_dir.absolute(), plan_dir.resolve()):
        if path.parts[-num_levels:] == PLAN_IN_REPOSITORY.parts:
            return path.parents[num_levels - 1]
    raise PlanError(
        f"{plan_dir} is a plan alone, which cannot be served",
        hint="build a repository with `llmasos build`",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # such as a name that is too long
        raise CheckpointError(f"cannot look for {path}: {error.strerror}") from error


def _build(
    model: Path | str, repository: Path, *, precision: Precision, revision: str | None
) -> None:
    # The builder brings the compiler along, which a built model does without.
    from llmasos_builder.build import BuildOptions, build  # noqa: PLC0415

    options = BuildOptions(precision=precision, revision=revision)
    with show_progress() as progress:
        build(model, repository, options, progress)


def _make_room(repository: Path) -> None:
    for engine in make_room(keep=repository):
        _log.info("%s was used least of late and is removed from the cache", engine.name)


def _name(model: str | Path, *, precision: Precision, revision: str | None) -> str:
    # The builder knows what it reads and writes; these parts of it bring no compiler along.
    from llmasos_builder.cpu_target import machine_facts  # noqa: PLC0415
    from llmasos_builder.fingerprint import fingerprint  # noqa: PLC0415
    from llmasos_builder.repository import model_sources  # noqa: PLC0415

    parts = [
        fingerprint(model, revision=revision),
        precision,
        PLAN_VERSION,
        NATIVE_FORMAT,
        __version__,
        version("openvino"),
        machine_facts(),
        [config.pbtxt() for task in get_args(Task) for config in model_configs(task=task)],
        model_sources(),
    ]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    name = Path(model).name or str(model)
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", name)[-_MAX_NAME_LENGTH:]
    return f"{readable}-{precision}-{digest}"
