"""The transport to the engine of a Triton server, over whichever protocol its connection speaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol
from weakref import WeakSet

from llmasos.errors import EngineStoppedError
from llmasos.generation.stream import PieceStream, settle_dropped
from llmasos.generation.transport import GenerationRequest, Prompt
from llmasos.triton.transport.base import CLOSED, MAX_CONCURRENT, Fields, fields_of

_DROPPED_TIMEOUT_S = 5.0


class Connection(Protocol):
    """A protocol that reaches a server; its methods may be called from any thread."""

    def send(self, fields: Fields) -> PieceStream:
        """Sends a request and returns the stream of its answer."""
        ...

    def is_ready(self) -> bool:
        """True if the server answers and its models are loaded."""
        ...

    def close(self) -> None:
        """Closes the connection; no stream may be open."""
        ...


class TritonTransport:
    """connection: is closed together with this object, after the streams that are open on it."""

    max_concurrent: int | None = MAX_CONCURRENT

    def __init__(self, connection: Connection, *, close: Callable[[], object]) -> None:
        """close: is called when this is closed, for what else belongs to the client."""
        self._connection = connection
        self._close = close
        self._lock = threading.Lock()  # of the two below
        self._streams: WeakSet[PieceStream] = WeakSet()
        self._closed = False

    def is_ready(self) -> bool:
        """True if the server answers and its models are loaded; False once this is closed."""
        return not self._closed and self._connection.is_ready()

    def prepare(self, prompt: Prompt) -> Prompt:
        """Returns the prompt as it is: the server tokenizes it."""
        return prompt

    def start(self, request: GenerationRequest) -> PieceStream:
        fields = fields_of(request)
        if self._closed:
            raise EngineStoppedError(CLOSED)
        started = self._connection.send(fields)
        with self._lock:
            if not self._closed:
                self._streams.add(started)
                return started
        started.close()
        raise EngineStoppedError(CLOSED)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        with ExitStack() as closing:  # one that fails does not keep the others from closing
            closing.callback(self._close)
            closing.callback(self._connection.close)
            closing.callback(settle_dropped, _DROPPED_TIMEOUT_S)
            for stream in streams:
                closing.callback(stream.close)
