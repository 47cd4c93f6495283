"""The streams that are open on one connection, so that closing it ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from weakref import WeakSet

from llmasos.errors import EngineStoppedError
from llmasos.generation.stream import PieceStream, settle_dropped
from llmasos.triton.transport.base import CLOSED

_DROPPED_TIMEOUT_S = 5.0


class OpenStreams:
    """Tracks open streams for many threads; when `close` has returned, none is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the two below
        self._streams: WeakSet[PieceStream] = WeakSet()
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def start(self, begin: Callable[[], PieceStream]) -> PieceStream:
        """Returns the stream that `begin` starts; raises EngineStoppedError after `close`."""
        if self._closed:
            raise EngineStoppedError(CLOSED)
        started = begin()
        with self._lock:
            if not self._closed:
                self._streams.add(started)
                return started
        started.close()
        raise EngineStoppedError(CLOSED)

    def close(self) -> None:
        """Cancels what is running; calling it again does nothing."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        with ExitStack() as closing:  # one that fails does not keep the others from closing
            closing.callback(settle_dropped, _DROPPED_TIMEOUT_S)
            for stream in streams:
                closing.callback(stream.close)
