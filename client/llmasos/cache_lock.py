"""The lock of a place in the cache: one process at a time builds or removes there."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llmasos.cache import make_directory
from llmasos.engine.plan_lock import is_open
from llmasos.errors import PlanError


@contextmanager
def locked(path: Path, *, wait: bool) -> Generator[None]:
    """Holds the lock of an engine's place, so that one process at a time builds or removes it.

    Raises BlockingIOError if another process holds it and wait is false, PlanError if no lock file
    can be made.
    """
    file = path.parent / f".{path.name}.lock"
    while True:
        with _open_to_lock(file) as lock:
            _lock(lock, file, wait=wait)
            if is_open(lock.fileno(), file):
                yield
                return
        # The one who had it removed the file: the lock that counts is another now.


def _open_to_lock(file: Path) -> IO[str]:
    try:
        make_directory(file.parent)
        return file.open("w")
    except OSError as error:
        raise _no_lock(file, error) from error


def _lock(lock: IO[str], file: Path, *, wait: bool) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:  # a file system without locks
        raise _no_lock(file, error) from error


def _no_lock(file: Path, error: OSError) -> PlanError:
    return PlanError(
        f"the cache cannot be used, {file} cannot be locked: {error.strerror}",
        hint="let LLMASOS_CACHE name another directory",
    )
