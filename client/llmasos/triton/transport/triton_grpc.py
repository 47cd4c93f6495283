"""A Triton server over gRPC: one ModelStreamInfer call for each request.

A call of its own lets each request be cancelled, fail and time out by itself, and its responses
need no sorting by request id; HTTP/2 carries all calls on one connection. The messages are
tritonclient's, filled and read here without numpy, since an answer of one token is a few bytes.

Triton's errors come inside the stream, as text alone: its header `triton_grpc_error`, which
would turn them into status codes, crashes tritonserver 2.51 about once in 400 refused requests.
"""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from llmasos.error_codes import error_of_text
from llmasos.errors import EngineStoppedError, LLMasOSError
from llmasos.forked import OwnProcess
from llmasos.generation.stream import PieceStream
from llmasos.outputs import StreamPiece
from llmasos.sampling_table import SAMPLING_TABLE
from llmasos.triton.transport.base import (
    CLOSED,
    ENGINE,
    READY_TIMEOUT_S,
    REMEMBERED_MS,
    STOP_TIMEOUT_S,
    TOKENS,
    Deadline,
    Fields,
    model_of_text,
    outputs_of,
    piece_of,
)

_messages: Any = service_pb2  # its classes are made at run time, so that no checker knows them
_NOT_CONNECTED = "failed to connect"  # gRPC's own words
_HUNG_UP = "Socket closed"
_REFUSED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
)
_FORMATS = {"INT32": "<i", "INT64": "<q", "UINT64": "<Q", "FP32": "<f", "BOOL": "<?"}
_TYPES = {row.ensemble_name: row.type for row in SAMPLING_TABLE}
"""Of the tensors that hold numbers; those that are not here are INT32."""

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
        self._model = model
        self._timeout_s = timeout_s

    def send(self, fields: Fields) -> PieceStream:
        self._process.check()
        request_id = uuid.uuid4().hex
        deadline = Deadline.after(self._timeout_s)
        try:
            request = infer_request(self._asked_model(deadline), request_id, fields)
            call = self._stub.ModelStreamInfer(iter([request]), timeout=self._timeout_s)
        except ValueError as error:  # what grpc raises for a channel that is closed
            raise EngineStoppedError(CLOSED) from error

        def receive() -> StreamPiece:
            try:
                return _next_piece(call)
            except grpc.RpcError as error:
                raise error_of_call(error, deadline) from error

        def cancel() -> None:
            self._stop(request_id)
            _let_end(call)

        return PieceStream(receive, cancel)

    def is_ready(self) -> bool:
        self._process.check()
        try:
            model = self._asked_model(Deadline.after(READY_TIMEOUT_S))
            request = _messages.ModelReadyRequest(name=model)
            return bool(self._stub.ModelReady(request, timeout=READY_TIMEOUT_S).ready)
        except (grpc.RpcError, ValueError, LLMasOSError):
            return False

    def close(self) -> None:
        if self._process.is_this:
            self._channel.close()

    def _asked_model(self, deadline: Deadline) -> str:
        """The model that answers text; raises LLMasOSError if the server does not say."""
        if self._model is None:
            try:
                reply = self._stub.ModelMetadata(ENGINE_METADATA, timeout=deadline.remaining_s())
                self._model = model_of_metadata(reply)
            except grpc.RpcError as error:
                self._model = model_after(error, deadline)
        return self._model

    def _stop(self, request_id: str) -> None:
        """Tells the engine itself to stop, since Triton does not pass on a cancelled ensemble."""
        try:
            for _ in self._stub.ModelStreamInfer(
                iter([stop_request(request_id)]), timeout=STOP_TIMEOUT_S
            ):
                pass
        except (grpc.RpcError, ValueError):
            return  # the server is gone or the channel closed, and the request with it


ENGINE_METADATA = _messages.ModelMetadataRequest(name=ENGINE)


def model_of_metadata(engine: Any) -> str:
    """Returns the model to ask of a server with this engine."""
    return model_of_text(tensor.name for tensor in engine.inputs)


def model_after(error: Any, deadline: Deadline) -> str:
    """Returns the model to ask of a server that has no engine; raises any other error."""
    if error.code() in _REFUSED:
        return model_of_text(())
    raise error_of_call(error, deadline) from error


def stop_request(request_id: str) -> Any:
    """Returns a request that tells the engine to end the request of this id."""
    fields = {"input_ids": [0], "input_lengths": 1, "request_output_len": 1, "stop": True}
    fields["deadline_ms"] = REMEMBERED_MS
    return infer_request(ENGINE, request_id, fields)


def infer_request(model: str, request_id: str, fields: Fields) -> Any:
    """Returns a ModelInferRequest of these tensors, each with a batch dimension of 1."""
    request = _messages.ModelInferRequest(model_name=model, id=request_id)
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        datatype, content = _encode(name, values)
        request.inputs.add(name=name, datatype=datatype, shape=[1, len(values)])
        request.raw_input_contents.append(content)
    if "stop" in fields:
        return request  # it is answered with nothing
    outputs = outputs_of(model, fields)
    for name in outputs:
        request.outputs.add(name=name)
    if model != ENGINE:
        # Ensembles do not pass the list of outputs on to their steps, but parameters they do:
        # so the engine knows what it need not send with each token.
        request.parameters["outputs"].string_param = ",".join(outputs)
    return request


def _encode(name: str, values: list[Any]) -> tuple[str, bytes]:
    """Returns the datatype and raw little-endian content of a tensor."""
    if isinstance(values[0], str):
        encoded = [value.encode() for value in values]
        return "BYTES", b"".join(struct.pack("<I", len(item)) + item for item in encoded)
    if isinstance(values[0], bool):
        return "BOOL", bytes(values)
    datatype = _TYPES.get(name, "INT32")
    return datatype, b"".join(struct.pack(_FORMATS[datatype], value) for value in values)


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


def values_of(response: Any) -> dict[str, Any]:
    """The first element of each output that has one, by name, and all token ids."""
    return {
        output.name: _ids(content) if output.name == TOKENS else _decode(output.datatype, content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
        if content
    }


def _ids(content: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(content) // 4}i", content)


def _decode(datatype: str, content: bytes) -> Any:
    if datatype == "BYTES":
        (length,) = struct.unpack_from("<I", content)
        return content[4 : 4 + length].decode("utf-8", "replace")
    form = _FORMATS.get(datatype)
    return None if form is None else struct.unpack_from(form, content)[0]


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
