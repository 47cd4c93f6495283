"""A Triton server over gRPC for asyncio; requests and responses are those of `triton_grpc`."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from llmasos.async_stream import AsyncPieceStream
from llmasos.errors import EngineStoppedError
from llmasos.outputs import StreamPiece
from llmasos.transport.base import (
    CLOSED,
    READY_TIMEOUT_S,
    STOP_TIMEOUT_S,
    Deadline,
    Fields,
    error_of_text,
    piece_of,
)
from llmasos.transport.triton_grpc import (
    error_of_call,
    infer_request,
    stop_request,
    values_of,
)

_messages: Any = service_pb2  # its classes are made at run time, so that no checker knows them


class AsyncGrpcTransport:
    """address: host:port of the server's gRPC endpoint. Belongs to one event loop."""

    def __init__(self, address: str, *, model: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            address, options=[("grpc.max_receive_message_length", -1)]
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._model = model
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, fields: Fields, *, timeout_s: float | None) -> AsyncPieceStream:
        """Send a request; its answer is read from the stream that is returned."""
        if self._closed:
            raise EngineStoppedError(CLOSED)
        request_id = uuid.uuid4().hex
        deadline = Deadline.after(timeout_s)
        request = infer_request(self._model, request_id, fields)
        call = self._stub.ModelStreamInfer(iter([request]), timeout=timeout_s)
        loop = asyncio.get_running_loop()

        async def receive() -> StreamPiece:
            try:
                return await _next_piece(call)
            except grpc.aio.AioRpcError as error:
                raise error_of_call(error, deadline) from error
            except (asyncio.CancelledError, grpc.aio.UsageError) as error:
                if self._closed:  # closing the channel cancelled the call, and not the task
                    raise EngineStoppedError(CLOSED) from error
                raise

        async def cancel() -> None:
            if not self._closed:
                await self._stop(request_id)
                await _let_end(call)

        def end_later() -> None:
            task = loop.create_task(cancel())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

        def abandon() -> None:
            with suppress(RuntimeError):  # the loop is closed, and the call with it
                loop.call_soon_threadsafe(end_later)

        return AsyncPieceStream(receive, cancel, abandon)

    async def is_ready(self) -> bool:
        """Whether the server answers and its models are loaded."""
        if self._closed:
            return False
        request = _messages.ModelReadyRequest(name=self._model)
        try:
            return bool((await self._stub.ModelReady(request, timeout=READY_TIMEOUT_S)).ready)
        except grpc.aio.AioRpcError:
            return False

    async def aclose(self) -> None:
        """Let what was abandoned end, then close the connection."""
        if self._ending:
            await asyncio.wait(self._ending)
        self._closed = True
        await self._channel.close()

    async def _stop(self, request_id: str) -> None:
        """Triton does not pass a cancelled ensemble on to its engine, so tell the engine itself."""
        with suppress(grpc.aio.AioRpcError):  # the server is gone, and the request with it
            request = stop_request(request_id)
            async for _ in self._stub.ModelStreamInfer(iter([request]), timeout=STOP_TIMEOUT_S):
                pass


async def _next_piece(call: Any) -> StreamPiece:
    async for response in call:
        if response.error_message:
            await _drain(call)
            raise error_of_text(response.error_message)
        values = values_of(response.infer_response)
        if not values:
            continue  # an empty response that only carries the final flag
        piece = piece_of(values)
        if piece.finish_reason is not None:
            await _drain(call)
        return piece
    raise EngineStoppedError("the server ended the stream before the answer was whole")


async def _drain(call: Any) -> None:
    async for _ in call:
        pass


async def _let_end(call: Any) -> None:
    """Let a stopped request end by itself, as `triton_grpc` does, but not for too long."""
    try:
        await asyncio.wait_for(_drain(call), STOP_TIMEOUT_S)
    except (
        grpc.aio.AioRpcError,
        asyncio.TimeoutError,
        asyncio.CancelledError,
        asyncio.InvalidStateError,
    ):
        call.cancel()
