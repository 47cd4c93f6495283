"""Hands the engine's updates over to a thread of low priority, which sends them.

Handing a response to Triton takes tens of microseconds, and what Triton and a client do with it
several times that. On a machine whose cores all compute, each response so delays the next step.
So the thread that sends gives way to those that compute: where cores are idle it sends each
update at once, and where none is it falls behind, and what has gathered for a stream meanwhile
becomes one response. The first update of a request does not wait for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from llmasos_runtime.sequences.request import Update

_NICENESS = 10
"""About a tenth of the processor time of a thread at 0 that wants the same core (see nice(1))."""


class Updates(Protocol):
    """What takes the engine's updates; see `UpdateQueue`."""

    def put(self, update: Update) -> None: ...
    def flush(self, timeout_s: float) -> None: ...
    def close(self) -> None: ...


class UpdateQueue:
    """Keeps the order of the updates of each request, which one thread puts at a time.

    Requests take turns: the one whose first waiting update is the oldest is next.
    """

    def __init__(self, deliver: Callable[[Sequence[Update]], object]) -> None:
        """deliver: sends the waiting updates of one request; it must not raise."""
        self._deliver = deliver
        self._begun: set[str] = set()
        self._waiting: dict[str, list[Update]] = {}
        self._changed = threading.Condition()
        self._is_delivering = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="responses", daemon=True)
        self._thread.start()

    def put(self, update: Update) -> None:
        """Delivers the first update of a request in this thread, and any other later."""
        is_first = update.request_id not in self._begun
        if update.is_last:
            self._begun.discard(update.request_id)
        elif is_first:
            self._begun.add(update.request_id)
        if is_first:
            self._deliver([update])
            return
        with self._changed:
            self._waiting.setdefault(update.request_id, []).append(update)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> None:
        """Waits until all updates are delivered, or for so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_delivering, timeout_s)

    def close(self) -> None:
        """Delivers what waits, then ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        with suppress(OSError, AttributeError):  # the system has no priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while (updates := self._take()) is not None:
            self._deliver(updates)
            with self._changed:
                self._is_delivering = False
                self._changed.notify_all()

    def _take(self) -> list[Update] | None:
        """Returns the updates of the request whose turn it is; None when closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            self._is_delivering = True
            return self._waiting.pop(next(iter(self._waiting)))
