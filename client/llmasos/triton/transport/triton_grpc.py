"""A Triton server over gRPC: one ModelStreamInfer call for each request.

A call of its own lets each request be cancelled, fail and time out by itself, and its responses
need no sorting by request id; HTTP/2 carries all calls on one connection.

Triton's errors come inside the stream, as text alone: its header `triton_grpc_error`, which
would turn them into status codes, crashes tritonserver 2.51 about once in 400 refused requests.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from llmasos.error_codes import error_of_text
from llmasos.errors import EngineStoppedError, LLMasOSError
from llmasos.forked import OwnProcess
from llmasos.generation.stream import PieceStream
from llmasos.outputs import StreamPiece
from llmasos.triton.transport.asked_model import (
    ENGINE,
    ENSEMBLE,
    AskedModel,
    known_model,
)
from llmasos.triton.transport.base import (
    CLOSED,
    READY_TIMEOUT_S,
    STOP_TIMEOUT_S,
    Deadline,
    Fields,
    piece_of,
)
from llmasos.triton.transport.grpc_messages import (
    config_request,
    engine_of_config,
    infer_request,
    metadata_request,
    model_of_metadata,
    ready_request,
    stop_request,
    values_of,
)

_NOT_CONNECTED = "failed to connect"  # gRPC's own words
_HUNG_UP = "Socket closed"
_REFUSED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
)

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    # Else a client that is made in a forked process would share the connection of its parent.
    ("grpc.use_local_subchannel_pool", 1),
]


class GrpcConnection:
    """address: host:port of the server's gRPC endpoint. timeout_s: for each complete answer.

    model: which is asked; None asks the server for the one that answers in the fewest hops.
    """

    def __init__(self, address: str, *, model: str | None, timeout_s: float | None) -> None:
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._process = OwnProcess("this client's gRPC connection")
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._name = model
        self._asked = known_model(model)
        self._timeout_s = timeout_s

    def send(self, fields: Fields) -> PieceStream:
        self._process.check()
        request_id = uuid.uuid4().hex
        deadline = Deadline.after(self._timeout_s)
        try:
            asked = self._asked_model(deadline)
            request = infer_request(asked, request_id, fields)
            call = self._stub.ModelStreamInfer(iter([request]), timeout=self._timeout_s)
        except ValueError as error:  # what grpc raises for a channel that is closed
            raise EngineStoppedError(CLOSED) from error

        def receive() -> StreamPiece:
            try:
                return _next_piece(call)
            except grpc.RpcError as error:
                raise error_of_call(error, deadline) from error

        def cancel() -> None:
            self._stop(asked, request_id)
            _let_end(call)

        return PieceStream(receive, cancel)

    def is_ready(self) -> bool:
        self._process.check()
        try:
            asked = self._asked_model(Deadline.after(READY_TIMEOUT_S))
            request = ready_request(asked.model)
            return bool(self._stub.ModelReady(request, timeout=READY_TIMEOUT_S).ready)
        except (grpc.RpcError, ValueError, LLMasOSError):
            return False

    def close(self) -> None:
        if self._process.is_this:
            self._channel.close()

    def _asked_model(self, deadline: Deadline) -> AskedModel:
        """The model that answers text; raises LLMasOSError if the server does not say."""
        if self._asked is None:
            try:
                engine = self._engine_of(deadline)
                if engine is None:
                    return AskedModel(self._name or ENSEMBLE)
                request = metadata_request(engine)
                reply = self._stub.ModelMetadata(request, timeout=deadline.remaining_s())
                self._asked = model_of_metadata(reply, engine, self._name)
            except grpc.RpcError as error:
                return model_after(error, self._name, deadline)
        return self._asked

    def _engine_of(self, deadline: Deadline) -> str | None:
        """The engine behind the named model; None if it is no ensemble of one."""
        if self._name is None:
            return ENGINE
        request = config_request(self._name)
        reply = self._stub.ModelConfig(request, timeout=deadline.remaining_s())
        return engine_of_config(reply)

    def _stop(self, asked: AskedModel, request_id: str) -> None:
        """Tells the engine itself to stop, since Triton does not pass on a cancelled ensemble."""
        try:
            for _ in self._stub.ModelStreamInfer(
                iter([stop_request(asked, request_id)]), timeout=STOP_TIMEOUT_S
            ):
                pass
        except (grpc.RpcError, ValueError):
            return  # the server is gone or the channel closed, and the request with it


def model_after(error: Any, asked: str | None, deadline: Deadline) -> AskedModel:
    """Returns the model to ask of a server that has no engine; raises any other error."""
    if error.code() in _REFUSED:
        return AskedModel(asked or ENSEMBLE)
    raise error_of_call(error, deadline) from error


def _next_piece(call: Iterator[Any]) -> StreamPiece:
    for response in call:
        if response.error_message:
            _drain(call)
            raise error_of_text(response.error_message)
        values = values_of(response.infer_response)
        if not values:
            continue  # an empty response that only carries the final flag
        piece = piece_of(values)
        if piece.is_last:
            _drain(call)
        return piece
    raise EngineStoppedError("the server ended the stream before the answer was whole")


def _drain(call: Iterator[Any]) -> None:
    """Reads a call to its end: leaving it earlier would cancel it."""
    for _ in call:
        pass


def _let_end(call: Any) -> None:
    """Lets a stopped request end by itself, and cancels the call if that takes too long.

    Triton 2.51 counts a cancelled ensemble as running when it is told to exit.
    """
    too_long = threading.Timer(STOP_TIMEOUT_S, call.cancel)
    too_long.start()
    try:
        _drain(call)
    except (grpc.RpcError, ValueError):  # gone; or Ctrl-C broke into a read, and none may follow
        call.cancel()
    finally:
        too_long.cancel()


def error_of_call(error: Any, deadline: Deadline) -> LLMasOSError:
    """Returns our error for a call that failed."""
    code, message = error.code(), error.details() or "the connection to the server broke"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return deadline.error()
    if code is grpc.StatusCode.CANCELLED:
        return EngineStoppedError(f"the request was cancelled: {message}")
    if message.startswith(_NOT_CONNECTED):
        hint = "a server's HTTP port needs http://" if _HUNG_UP in message else None
        return EngineStoppedError(f"no server can be reached: {message}", hint=hint)
    return error_of_text(message, refused=code in _REFUSED)
