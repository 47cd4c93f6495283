"""A Triton server over HTTP: its generate endpoints, with server-sent events for streams."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPResponse
from socket import SHUT_RDWR
from typing import Any

from llmasos.errors import EngineStoppedError, InvalidRequestError, LLMasOSError
from llmasos.generation.stream import PieceStream
from llmasos.outputs import StreamPiece
from llmasos.triton.transport.asked_model import (
    ENGINE,
    ENSEMBLE,
    AskedModel,
    engine_of_steps,
    known_model,
    model_of_text,
)
from llmasos.triton.transport.base import (
    READY_TIMEOUT_S,
    REMEMBERED_MS,
    SEVERAL,
    STOP_TIMEOUT_S,
    Deadline,
    Fields,
    piece_of,
)
from llmasos.triton.transport.http_events import events_of, json_object

_CLOSED = "the stream is closed"


class HttpConnection:
    """address: host:port of the server's HTTP endpoint. Each request has its own connection.

    model: which is asked; None asks the server for the one that answers in the fewest hops.
    timeout_s: for each complete answer.
    """

    def __init__(self, address: str, *, model: str | None, timeout_s: float | None) -> None:
        self._address = address
        self._name = model
        self._asked = known_model(model)
        self._timeout_s = timeout_s

    def send(self, fields: Fields) -> PieceStream:
        request_id = uuid.uuid4().hex
        body = {**fields, "id": request_id}
        asked = self._asked_model(self._timeout_s)
        answer = _Answer(self._address, asked.model, body, self._timeout_s)

        def cancel() -> None:
            self._stop(asked.engine, request_id)
            answer.let_end()

        return PieceStream(answer.next_piece, cancel)

    def is_ready(self) -> bool:
        try:
            asked = self._asked_model(READY_TIMEOUT_S)
            with self._got(f"/v2/models/{asked.model}/ready", READY_TIMEOUT_S) as response:
                return response.status == HTTPStatus.OK
        except (OSError, HTTPException, LLMasOSError):
            return False

    def close(self) -> None:
        """Does nothing: no connection stays open between requests."""

    def _asked_model(self, timeout_s: float | None) -> AskedModel:
        """The model that answers text; raises LLMasOSError if the server does not say."""
        if self._asked is None:
            try:
                engine = self._engine_of(timeout_s)
                if engine is None:
                    return AskedModel(self._name or ENSEMBLE)
                known = self._said(f"/v2/models/{engine}", timeout_s)
            except (OSError, HTTPException) as error:
                raise error_of_connection(error, Deadline.after(timeout_s)) from error
            self._asked = model_of_text(
                [tensor["name"] for tensor in known.get("inputs", ())],
                engine=engine,
                ensemble=self._name or ENSEMBLE,
            )
        return self._asked

    def _engine_of(self, timeout_s: float | None) -> str | None:
        """The engine behind the named model; None if it is no ensemble of one, or not there."""
        if self._name is None:
            return ENGINE
        found = self._said(f"/v2/models/{self._name}/config", timeout_s)
        steps = found.get("ensemble_scheduling", {}).get("step", ())
        return engine_of_steps(step["model_name"] for step in steps)

    def _said(self, path: str, timeout_s: float | None) -> dict[str, Any]:
        """What the server says at a path, or nothing where it refuses."""
        with self._got(path, timeout_s) as response:
            body = response.read()
            return json_object(body) if response.status == HTTPStatus.OK else {}

    @contextmanager
    def _got(self, path: str, timeout_s: float | None) -> Generator[HTTPResponse]:
        connection = HTTPConnection(self._address, timeout=timeout_s)
        try:
            connection.request("GET", path)
            yield connection.getresponse()
        finally:
            connection.close()

    def _stop(self, engine: str, request_id: str) -> None:
        """Tells the engine itself to stop, since Triton does not tell it of a closed connection."""
        body = {"id": request_id, "input_ids": [0], "input_lengths": 1}
        body |= {"request_output_len": 1, "stop": True, "streaming": True}
        body["deadline_ms"] = REMEMBERED_MS
        connection = HTTPConnection(self._address, timeout=STOP_TIMEOUT_S)
        try:
            connection.request("POST", f"/v2/models/{engine}/generate_stream", json.dumps(body))
            connection.getresponse().read()
        except (OSError, HTTPException):
            return  # the server is gone, and the request with it
        finally:
            connection.close()


class _Answer:
    """One POST and the events of its answer; a single JSON object counts as one event.

    One thread reads at a time. A thread that ends the answer meanwhile waits for the reader to get
    its piece, and breaks the connection if that takes too long.
    """

    def __init__(self, address: str, model: str, body: Fields, timeout_s: float | None) -> None:
        self._deadline = Deadline.after(timeout_s)
        self._connection = HTTPConnection(address, timeout=timeout_s)
        self._response: HTTPResponse | None = None
        self._events: Iterator[dict[str, Any]] | None = None
        self._reading = threading.RLock()  # a signal's handler may close what it broke into
        self._closed = False
        has_events = body["stream"] or SEVERAL in body  # `generate` has one response
        endpoint = "generate_stream" if has_events else "generate"
        try:
            self._connection.request("POST", f"/v2/models/{model}/{endpoint}", json.dumps(body))
        except (OSError, HTTPException) as error:
            self.close()
            raise self._error_of(error) from error
        self._socket = self._connection.sock  # the connection forgets one that it will not reuse

    def next_piece(self) -> StreamPiece:
        with self._reading:
            if self._closed:
                raise EngineStoppedError(_CLOSED)
            try:
                values = self._next_values()
            except (OSError, HTTPException) as error:
                raise self._error_of(error) from error
            except (AttributeError, ValueError) as error:  # the response was closed in mid-read
                if self._closed:
                    raise EngineStoppedError(_CLOSED) from error
                raise
            piece = piece_of(values)
            if piece.is_last:
                self.close()
            return piece

    def let_end(self) -> None:
        """Closes once the server has ended a stopped answer by itself.

        Triton 2.51 counts an ensemble whose client has gone as running when it is told to exit.
        """
        self._closed = True
        too_long = threading.Timer(STOP_TIMEOUT_S, self._break)
        too_long.start()
        try:
            with self._reading:
                self._drain()
        finally:
            too_long.cancel()

    def close(self) -> None:
        self._connection.close()
        if self._response is not None:
            self._response.close()

    def _drain(self) -> None:
        try:
            self._socket.settimeout(STOP_TIMEOUT_S)
            for _ in self._events or self._begin():
                pass
        except (OSError, HTTPException, ValueError, LLMasOSError):
            pass  # it is gone, refused, or read by this very thread: closed in any case
        finally:
            self.close()

    def _break(self) -> None:
        """Ends the read in which another thread waits."""
        with suppress(OSError):  # it is closed
            self._socket.shutdown(SHUT_RDWR)

    def _next_values(self) -> dict[str, Any]:
        if self._events is None:
            self._wait_no_longer_than_allowed()
            self._events = self._begin()
        self._wait_no_longer_than_allowed()
        values = next(self._events, None)
        if values is None:
            raise EngineStoppedError("the server ended the stream before the answer was whole")
        return values

    def _begin(self) -> Iterator[dict[str, Any]]:
        self._response = self._connection.getresponse()
        return events_of(self._response)

    def _wait_no_longer_than_allowed(self) -> None:
        self._socket.settimeout(self._deadline.remaining_s())

    def _error_of(self, error: Exception) -> LLMasOSError:
        return (
            EngineStoppedError(_CLOSED)
            if self._closed
            else error_of_connection(error, self._deadline)
        )


def error_of_connection(error: Exception, deadline: Deadline) -> LLMasOSError:
    """Returns our error for a connection that failed."""
    if isinstance(error, TimeoutError):
        return deadline.error()
    if isinstance(error, ConnectionRefusedError):
        return EngineStoppedError(f"no server can be reached: {error}")
    if isinstance(error, BadStatusLine) and not isinstance(error, ConnectionError):
        return InvalidRequestError(
            "what answers does not speak HTTP", hint="a server's gRPC port needs grpc://"
        )
    return EngineStoppedError(f"the connection to the server broke: {error}")
