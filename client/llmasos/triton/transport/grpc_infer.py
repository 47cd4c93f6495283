"""One ModelInfer call over gRPC for each request of whole texts."""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from llmasos.errors import EngineStoppedError
from llmasos.forked import OwnProcess
from llmasos.triton.transport.asked_model import ENGINE
from llmasos.triton.transport.base import CLOSED, Deadline
from llmasos.triton.transport.encoding_tensors import EncodingRequest, Values
from llmasos.triton.transport.triton_grpc import CHANNEL_OPTIONS, error_of_call

_messages: Any = service_pb2  # its classes are made at run time, so that no checker knows them
_ARRAYS = {"FP32": np.dtype("<f4"), "INT32": np.dtype("<i4")}


class GrpcInfer:
    """address: host:port. model: which is asked. timeout_s: for each answer.

    The channel is opened by the first request, so that a client of a model that continues texts
    has none: each is a risk for a process that forks.
    """

    def __init__(self, address: str, *, model: str | None, timeout_s: float | None) -> None:
        self._address = address
        self._process = OwnProcess("this client's gRPC connection")
        self._opening = threading.Lock()
        self._channel: Any = None
        self._stub: Any = None
        self._is_closed = False
        self._model = model or ENGINE
        self._timeout_s = timeout_s

    def infer(self, request: EncodingRequest) -> Future[Values]:
        """See InferConnection."""
        self._process.check()
        deadline = Deadline.after(self._timeout_s)
        message = _message(self._model, request)
        try:
            call = self._opened().ModelInfer.future(message, timeout=self._timeout_s)
        except ValueError as error:  # what grpc raises for a channel that is closed
            raise EngineStoppedError(CLOSED) from error
        result: Future[Values] = Future()

        def done(found: Any) -> None:
            if not result.set_running_or_notify_cancel():
                return
            try:
                result.set_result(_values(found.result()))
            except grpc.FutureCancelledError:
                result.set_exception(EngineStoppedError(CLOSED))
            except grpc.RpcError as error:
                result.set_exception(error_of_call(error, deadline))
            except Exception as error:  # noqa: BLE001 - it is told to whoever waits
                result.set_exception(error)

        def left(own: Future[Values]) -> None:
            if own.cancelled():
                call.cancel()

        call.add_done_callback(done)
        result.add_done_callback(left)
        return result

    def close(self) -> None:
        """See InferConnection."""
        if not self._process.is_this:
            return
        with self._opening:
            self._is_closed = True
            if self._channel is not None:
                self._channel.close()

    def _opened(self) -> Any:
        """The stub of the open channel. Raises EngineStoppedError once this is closed."""
        with self._opening:
            if self._is_closed:
                raise EngineStoppedError(CLOSED)
            if self._channel is None:
                self._channel = grpc.insecure_channel(
                    self._address,
                    options=[*CHANNEL_OPTIONS, ("grpc.max_send_message_length", -1)],
                )
                self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
            return self._stub


def _message(model: str, request: EncodingRequest) -> Any:
    message = _messages.ModelInferRequest(model_name=model)
    for name, values in request.inputs.items():
        datatype, content = _encoded(values)
        message.inputs.add(name=name, datatype=datatype, shape=[len(values)])
        message.raw_input_contents.append(content)
    return message


def _encoded(values: Sequence[Any]) -> tuple[str, bytes]:
    if not values or isinstance(values[0], str):
        encoded = [value.encode() for value in values]
        return "BYTES", b"".join(struct.pack("<I", len(one)) + one for one in encoded)
    if isinstance(values[0], bool):
        return "BOOL", bytes(values)
    return "INT32", struct.pack(f"<{len(values)}i", *values)


def _values(response: Any) -> Values:
    return {
        output.name: _array(output.datatype, content).reshape(tuple(output.shape))
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def _array(datatype: str, content: bytes) -> NDArray[Any]:
    if datatype != "BYTES":
        return np.frombuffer(content, _ARRAYS[datatype])
    texts, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        texts.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    return np.array(texts, np.object_)
