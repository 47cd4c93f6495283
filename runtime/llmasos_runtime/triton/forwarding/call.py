"""Asks the process of the engine, from that of another model of the same server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmasos.error_codes import error_of_text
from llmasos.errors import EngineStoppedError
from numpy.typing import NDArray

from llmasos_runtime.triton.forwarding.frames import Arrays, FrameReader, encoded

_READ_BYTES = 1 << 18


class EngineCall:
    """One request to the engine, and its responses as they come."""

    def __init__(
        self,
        address: str,
        *,
        request_id: str,
        parameters: Mapping[str, Any],
        outputs: Sequence[str],
        inputs: Mapping[str, NDArray[Any]],
    ) -> None:
        """address: see `engine_address`. outputs: those wanted.

        Raises EngineStoppedError where no engine listens.
        """
        self._lock = threading.Lock()
        self._is_closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        header = {"id": request_id, "parameters": dict(parameters), "outputs": list(outputs)}
        try:
            self._socket.connect(address)
            self._socket.sendall(encoded(header, inputs))
        except OSError as error:
            self._socket.close()
            raise EngineStoppedError(f"the engine takes no requests: {error.strerror}") from error

    def responses(self) -> Iterator[Arrays]:
        """Yields the outputs of each response that has any, and waits for it; none after `close`.

        Raises the error of the engine if it has one, EngineStoppedError if its process has ended.
        """
        reader = FrameReader()
        try:
            while data := self._received():
                for frame in reader.feed(data):
                    if frame.header["error"] is not None:
                        raise error_of_text(frame.header["error"])
                    if frame.arrays:
                        yield frame.arrays
                    if frame.header["is_final"]:
                        return
            if not self._is_closed:
                raise EngineStoppedError("the engine has stopped")
        finally:
            with self._lock:
                self._is_closed = True
                self._socket.close()

    def close(self) -> None:
        """Ends the request, from any thread."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._socket.shutdown(socket.SHUT_RDWR)

    def _received(self) -> bytes:
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""
