"""Takes requests of the server's other models in the engine's process, and sends the responses."""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from llmasos.errors import PlanError

from llmasos_runtime.triton.backend import FINAL, BackendRequest, ResponseSender
from llmasos_runtime.triton.forwarding.frames import Frame, FrameReader, encoded
from llmasos_runtime.triton.forwarding.plain_backend import (
    ForwardedRequest,
    InferenceResponse,
    Tensor,
)

_BACKLOG = 4096
_READ_BYTES = 1 << 18
_WAIT_FOR_ADDRESS_S = 20.0
"""Time for the process of an engine that is unloaded to let go of the address."""
_CREDENTIALS = struct.Struct("3i")
_log = logging.getLogger(__name__)


class Listener:
    """Reads requests in a thread of its own, in which it also calls `accept` and `gone`.

    accept: takes a request, which has its sender. gone: is told of a sender whose client has closed
    the connection before the last response. Neither may raise. Only processes of this user are
    listened to.
    """

    def __init__(
        self,
        address: str,
        accept: Callable[[BackendRequest], None],
        gone: Callable[[ResponseSender], None],
    ) -> None:
        """address: see `engine_address`. Raises PlanError if another process has it."""
        self._accept = accept
        self._gone = gone
        self._socket = _bound(address)
        self._socket.setblocking(False)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._blocked: set[_Connection] = set()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="forwarded requests", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening; the connections end. May be called again."""
        self._is_closing = True
        self._wake()
        self._thread.join()

    def wait_to_write(self, connection: _Connection) -> None:
        """Writes the rest of what a connection could not take at once, when it can."""
        self._blocked.add(connection)
        self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # it is awake, or has ended
            self._wake_writer.send(b"w")

    def _run(self) -> None:
        while not self._is_closing:
            try:
                for key, events in self._selector.select():
                    self._handle(key, events)
            except Exception:  # noqa: BLE001 - the other requests must go on
                _log.exception("a forwarded request could not be handled")
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._wake_writer.close()
        self._selector.close()

    def _handle(self, key: selectors.SelectorKey, events: int) -> None:
        if key.fileobj is self._socket:
            self._welcome()
        elif key.fileobj is self._wake_reader:
            self._watch_blocked()
        elif events & selectors.EVENT_WRITE and key.data.flush():
            self._selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
        elif events & selectors.EVENT_READ:
            self._read(key.data)

    def _welcome(self) -> None:
        with suppress(BlockingIOError):
            peer, _ = self._socket.accept()
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            if _CREDENTIALS.unpack(credentials)[1] != os.getuid():
                peer.close()
                return
            peer.setblocking(False)
            self._selector.register(peer, selectors.EVENT_READ, _Connection(peer, self))

    def _watch_blocked(self) -> None:
        with suppress(BlockingIOError):
            self._wake_reader.recv(4096)
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        while self._blocked:
            connection = self._blocked.pop()
            with suppress(KeyError, ValueError):  # it has ended meanwhile
                self._selector.modify(connection.peer, both, connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.peer.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection.peer)
            connection.end()
            if not connection.has_answered:
                self._gone(connection)
            return
        for frame in connection.reader.feed(data):
            self._accept(_request(frame, connection))


class _Connection:
    """One request: the socket that it came by, which takes its responses."""

    def __init__(self, peer: socket.socket, listener: Listener) -> None:
        self.peer = peer
        self.reader = FrameReader()
        self.has_answered = False
        self._listener = listener
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._has_ended = False

    def send(self, response: object = None, flags: int = 0) -> None:
        """Sends a response from any thread; what the peer does not take yet waits."""
        is_final = bool(flags & FINAL)
        frame = _frame(response, is_final=is_final)
        with self._lock:
            self.has_answered = self.has_answered or is_final
            if self._has_ended:
                return
            was_blocked = bool(self._waiting)
            self._waiting += frame
            is_blocked = was_blocked or not self._write()
        if is_blocked and not was_blocked:
            self._listener.wait_to_write(self)

    def is_cancelled(self) -> bool:
        return self._has_ended

    def flush(self) -> bool:
        """Writes what waits; True if nothing is left."""
        with self._lock:
            return self._has_ended or self._write()

    def end(self) -> None:
        with self._lock:
            self._has_ended = True
            self.peer.close()

    def _write(self) -> bool:
        try:
            sent = self.peer.send(self._waiting)
            del self._waiting[:sent]
        except BlockingIOError:
            pass
        except OSError:  # the reader sees the end
            self._waiting.clear()
        return not self._waiting


def _bound(address: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    until = time.monotonic() + _WAIT_FOR_ADDRESS_S
    while True:
        try:
            listening.bind(address)
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                listening.close()
                name = address.strip("\0")
                raise PlanError(f"the socket {name} cannot be bound: {error.strerror}") from error
            time.sleep(0.1)
    listening.listen(_BACKLOG)
    return listening


def _request(frame: Frame, connection: _Connection) -> ForwardedRequest:
    return ForwardedRequest(
        tensors=[Tensor(name, array) for name, array in frame.arrays.items()],
        client_id=frame.header["id"],
        said=frame.header["parameters"],
        outputs=frame.header["outputs"],
        sender=connection,
    )


def _frame(response: object, *, is_final: bool) -> bytes:
    if response is None:
        return encoded({"error": None, "is_final": is_final}, {})
    assert isinstance(response, InferenceResponse)
    error = None if response.error is None else response.error.text
    arrays = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors}
    return encoded({"error": error, "is_final": is_final}, arrays)
