"""A lock that keeps a plan in use from being removed; it ends with the process that runs it.

It is a lock of the operating system on the plan's directory, shared by all who run the plan.
Removing the plan takes an exclusive lock.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from llmasos.cache import engines_dir
from llmasos.errors import PlanError


class PlanHold:
    """Keeps a plan's directory from being removed until this is released or garbage-collected."""

    def __init__(self, plan_dir: Path) -> None:
        """Raises PlanError if the plan was removed in the meantime."""
        try:
            descriptor = os.open(plan_dir, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # whoever reads the plan says what is wrong with it
            self.release = weakref.finalize(self, _do_nothing)
            return
        self.release = weakref.finalize(self, partial(os.close, descriptor))
        _HOLDS.add(self)
        with suppress(OSError):  # a file system without locks has no cache of ours
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not is_open(descriptor, plan_dir):
            self.release()
            raise PlanError(f"{plan_dir} was removed from the cache meanwhile", hint="try again")
        _note_use(plan_dir)


_HOLDS: weakref.WeakSet[PlanHold] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """Releases every hold in a forked child, which does not run the plan."""
    for hold in list(_HOLDS):
        hold.release()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextmanager
def exclusive(directory: Path) -> Generator[None]:
    """Holds an exclusive lock on a directory; raises BlockingIOError while anyone else holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def is_open(descriptor: int, path: Path) -> bool:
    """True if the path still leads to the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _do_nothing() -> None:
    """Stands in where there is nothing to release."""


def _note_use(plan_dir: Path) -> None:
    """Sets the modification time of a cached plan's directory to now: the time of its last use."""
    with suppress(OSError, PlanError):  # PlanError: there is no place for a cache, and no need
        if plan_dir.resolve().is_relative_to(engines_dir().resolve()):
            os.utime(plan_dir)
