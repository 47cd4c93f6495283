"""Refuses the use of an object in a process that was forked from the one that made it.

A fork copies the memory of a process but none of its threads. In the child, an engine would wait
for ever for the threads that compute, and a gRPC connection would be shared with the parent. So
every object with threads or connections remembers its process and is refused in others. An
object whose destructor waits for its threads is never destroyed in a child.
"""

from __future__ import annotations

import ctypes
import os
from weakref import WeakSet

from llmasos.errors import ForkedProcessError


class OwnProcess:
    """The process in which an object was made. what: the object's name in messages."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._pid = os.getpid()

    @property
    def is_this(self) -> bool:
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise ForkedProcessError in a process that was forked from this one."""
        if not self.is_this:
            raise ForkedProcessError(
                f"{self._what} was made in process {self._pid}, and process {os.getpid()} was "
                "forked from it",
                hint="make it after the fork (in gunicorn without --preload, or in post_fork), or "
                "start processes with multiprocessing's method spawn",
            )


def leave_to_parent(thing: object) -> None:
    """Keeps an object and all it holds from being destroyed in a forked child."""
    _LEFT_TO_PARENT.add(thing)


_LEFT_TO_PARENT: WeakSet[object] = WeakSet()


def _leave() -> None:
    for thing in list(_LEFT_TO_PARENT):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    _LEFT_TO_PARENT.clear()


os.register_at_fork(after_in_child=_leave)
