"""What has a thread that computes is closed when the program ends, if nobody did so before.

Python ends such a thread in the middle of what it does, and then takes the memory of a forward
that goes on. A forked process closes nothing: the threads are its parent's.
"""

from __future__ import annotations

import atexit
import os
from typing import Protocol
from weakref import WeakSet


class Closable(Protocol):
    def close(self) -> None: ...


def close_at_exit(executor: Closable) -> None:
    """Call its `close`, which may have been called before, when the program ends."""
    _EXECUTORS.add(executor)


_EXECUTORS: WeakSet[Closable] = WeakSet()


@atexit.register
def _close_all() -> None:
    for executor in list(_EXECUTORS):
        executor.close()


os.register_at_fork(after_in_child=_EXECUTORS.clear)
