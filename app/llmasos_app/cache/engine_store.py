"""The built engines in the cache: which there are, and what goes when they take too much.

The Python environments of the Triton server are listed and removed in the same way, by hand.
An engine in use, or being built, always stays. What is removed is renamed first, so that
nobody finds half of it; a name that begins with a dot is no engine.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llmasos.byte_size import parse_bytes
from llmasos.cache import engines_dir, server_environments_dir
from llmasos.cache_lock import locked
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.engine.plan import PLAN_FILE, EnginePlan
from llmasos.engine.plan_lock import exclusive
from llmasos.errors import PlanError

LIMIT_VARIABLE = "LLMASOS_CACHE_BYTES"
DEFAULT_LIMIT = 20 * 10**9
_REMOVING = ".removing-"
_LEFTOVER_S = 60.0
"""After which a directory that nobody has locked was left behind by a process that died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedEngine:
    """A built repository in the cache, or an environment of the Triton server.

    plan: None if it cannot be read, as one of another release. size: of its files, in bytes.
    last_used: seconds since the epoch. in_use: a process runs it.
    """

    name: str
    path: Path
    plan: EnginePlan | None
    size: int
    last_used: float
    in_use: bool


def size_limit() -> int:
    """Bytes that the built engines may take together; raises InvalidRequestError."""
    text = os.environ.get(LIMIT_VARIABLE)
    return parse_bytes(text, name=LIMIT_VARIABLE) if text else DEFAULT_LIMIT


def cached_engines() -> list[CachedEngine]:
    """All of them, that used last first."""
    return _cached(engines_dir())


def cached_environments() -> list[CachedEngine]:
    """The Python environments of the Triton server, that used last first."""
    return _cached(server_environments_dir())


def _cached(directory: Path) -> list[CachedEngine]:
    if not directory.is_dir():
        return []
    found = [_engine(path) for path in directory.iterdir() if _is_engine(path)]
    engines = [engine for engine in found if engine is not None]
    return sorted(engines, key=lambda engine: engine.last_used, reverse=True)


def remove_engine(engine: CachedEngine) -> None:
    """Free its memory on the disk; raises PlanError if it is in use."""
    try:
        with _only_remover(engine.path):
            # A new name for it needs no room, as a new directory would on a disk that is full.
            grave = engine.path.with_name(f"{_REMOVING}{secrets.token_hex(8)}")
            engine.path.rename(grave)
    except BlockingIOError as error:
        raise PlanError(
            f"{engine.name} is in use", hint="stop what runs or builds it first"
        ) from error
    except FileNotFoundError:
        return  # another process was quicker
    except OSError as error:
        raise PlanError(f"{engine.path} cannot be removed: {error.strerror}") from error
    shutil.rmtree(grave, ignore_errors=True)


def make_room(*, keep: Path) -> list[CachedEngine]:
    """Remove those unused for longest until all fit the limit; what went.

    keep: stays whatever its size, since it is wanted now.
    """
    remove_leftovers()
    engines = cached_engines()
    excess = sum(engine.size for engine in engines) - size_limit()
    removed: list[CachedEngine] = []
    for engine in reversed(engines):
        if excess <= 0:
            break
        if engine.path != keep:
            with suppress(PlanError):  # in use: the next one goes
                remove_engine(engine)
                removed.append(engine)
                excess -= engine.size
    return removed


def remove_leftovers() -> None:
    """Remove what a process that was killed had half built or half removed."""
    for path in (*engines_dir().glob(".*"), *server_environments_dir().glob(".*")):
        with suppress(OSError):
            if path.is_dir() and time.time() - path.stat().st_mtime > _LEFTOVER_S:
                with exclusive(path):
                    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _only_remover(path: Path) -> Generator[None]:
    """Neither being built nor in use; the lock's file goes with the engine."""
    with locked(path, wait=False):
        plan_dir = path / PLAN_IN_REPOSITORY
        with exclusive(plan_dir if plan_dir.is_dir() else path):
            yield
            (path.parent / f".{path.name}.lock").unlink(missing_ok=True)


def _is_engine(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def _engine(path: Path) -> CachedEngine | None:
    """None if it is gone meanwhile, or cannot be looked at."""
    plan_dir = path / PLAN_IN_REPOSITORY
    try:
        used_dir = plan_dir if plan_dir.is_dir() else path
        last_used = used_dir.stat().st_mtime
        size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    except OSError:
        return None
    return CachedEngine(
        name=path.name,
        path=path,
        plan=_plan(plan_dir),
        size=size,
        last_used=last_used,
        in_use=_is_in_use(path),
    )


def _plan(plan_dir: Path) -> EnginePlan | None:
    if not (plan_dir / PLAN_FILE).is_file():
        return None
    try:
        return EnginePlan.read(plan_dir)
    except PlanError:
        return None


def _is_in_use(path: Path) -> bool:
    plan_dir = path / PLAN_IN_REPOSITORY
    try:
        with exclusive(plan_dir if plan_dir.is_dir() else path):
            return False
    except OSError:
        return True
