"""A plan that is in use stays: whoever runs it holds a lock that ends with its process.

The lock is the operating system's, on the plan's directory itself, shared by all who run the
plan. Who would remove it asks for the directory alone.
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
    """Keeps a plan's directory from being removed until it is released, or forgotten."""

    def __init__(self, plan_dir: Path) -> None:
        """Raises PlanError if the plan was removed just now."""
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
    """A forked process does not run the plan, and must not hold it when its parent has let go."""
    for hold in list(_HOLDS):
        hold.release()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextmanager
def exclusive(directory: Path) -> Generator[None]:
    """Have a directory alone; raises BlockingIOError while anyone holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def is_open(descriptor: int, path: Path) -> bool:
    """Whether the path still leads to what was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _do_nothing() -> None:
    """There is nothing to let go."""


def _note_use(plan_dir: Path) -> None:
    """The time of the directory of a plan in the cache is that of its last use."""
    with suppress(OSError, PlanError):  # PlanError: there is no place for a cache, and no need
        if plan_dir.resolve().is_relative_to(engines_dir().resolve()):
            os.utime(plan_dir)
