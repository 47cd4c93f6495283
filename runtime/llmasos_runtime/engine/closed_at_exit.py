"""Closes engines that are still open when the program ends.

Python would end their threads in the middle of a forward and then free the memory that it uses.
A forked process closes nothing: the threads are its parent's.
"""

from __future__ import annotations

import atexit
import os
from typing import Protocol
from weakref import WeakSet


class Closable(Protocol):
    def close(self) -> None: ...


def close_at_exit(executor: Closable) -> None:
    """Calls `close`, which must be repeatable, when the program ends."""
    _EXECUTORS.add(executor)


_EXECUTORS: WeakSet[Closable] = WeakSet()


@atexit.register
def _close_all() -> None:
    for executor in list(_EXECUTORS):
        executor.close()


os.register_at_fork(after_in_child=_EXECUTORS.clear)
