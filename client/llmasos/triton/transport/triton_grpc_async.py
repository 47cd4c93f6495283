"""A Triton server over gRPC for asyncio; requests and responses are those of `triton_grpc`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from llmasos.error_codes import error_of_text
from llmasos.errors import EngineStoppedError, LLMasOSError
from llmasos.forked import OwnProcess
from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.generation.transport import GenerationRequest, Prompt
from llmasos.outputs import StreamPiece
from llmasos.triton.transport.base import (
    CLOSED,
    MAX_CONCURRENT,
    READY_TIMEOUT_S,
    STOP_TIMEOUT_S,
    Deadline,
    Fields,
    fields_of,
    piece_of,
)
from llmasos.triton.transport.triton_grpc import (
    CHANNEL_OPTIONS,
    ENGINE_METADATA,
    error_of_call,
    infer_request,
    model_after,
    model_of_metadata,
    stop_request,
    values_of,
)

_messages: Any = service_pb2  # its classes are made at run time, so that no checker knows them


class AsyncGrpcTransport:
    """address: host:port of the server's gRPC endpoint. Belongs to one event loop.

    model: which is asked; None asks the server for the one that answers in the fewest hops.
    timeout_s: for each complete answer.
    """

    max_concurrent: int | None = MAX_CONCURRENT

    def __init__(
        self,
        address: str,
        *,
        model: str | None,
        timeout_s: float | None,
        close: Callable[[], object],
    ) -> None:
        """close: is called when this is closed, for what else belongs to the client."""
        self._close = close
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._process = OwnProcess("this client's gRPC connection")
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._model = model
        self._timeout_s = timeout_s
        self._ending: set[asyncio.Task[None]] = set()
        self._streams: WeakSet[AsyncPieceStream] = WeakSet()
        self._closed = False

    async def prepare(self, prompt: Prompt) -> Prompt:
        """Returns the prompt as it is: the server tokenizes it."""
        return prompt

    def start(self, request: GenerationRequest) -> AsyncPieceStream:
        """Sends a request and returns the stream of its answer."""
        fields = fields_of(request)
        if self._closed:
            raise EngineStoppedError(CLOSED)
        self._process.check()
        request_id = uuid.uuid4().hex
        deadline = Deadline.after(self._timeout_s)
        loop = asyncio.get_running_loop()
        call: asyncio.Future[Any]
        if self._model is None:
            call = loop.create_task(self._send_when_known(request_id, fields, deadline))
        else:
            call = loop.create_future()
            call.set_result(self._send(self._model, request_id, fields))
        answer = _Answer(call, deadline)

        async def cancel() -> None:
            await self._stop(request_id)
            await answer.let_end()

        def end_later() -> None:
            task = loop.create_task(cancel())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

        def abandon() -> None:
            with suppress(RuntimeError):  # the loop is closed, and the call with it
                loop.call_soon_threadsafe(end_later)

        stream = AsyncPieceStream(answer.next_piece, cancel, abandon)
        self._streams.add(stream)
        return stream

    async def is_ready(self) -> bool:
        """True if the server answers and its models are loaded."""
        if self._closed:
            return False
        self._process.check()
        try:
            model = await self._asked_model(Deadline.after(READY_TIMEOUT_S))
            request = _messages.ModelReadyRequest(name=model)
            return bool((await self._stub.ModelReady(request, timeout=READY_TIMEOUT_S)).ready)
        except (grpc.aio.AioRpcError, LLMasOSError):
            return False

    async def aclose(self) -> None:
        """Ends running requests, lets abandoned ones end, then closes the connection."""
        self._closed = True
        if not self._process.is_this:
            return
        await asyncio.sleep(0)  # streams that were dropped just now are heard of
        ending = {*self._ending, *(asyncio.ensure_future(s.aclose()) for s in self._streams)}
        if ending:
            await asyncio.wait(ending)
        self._close()
        await self._channel.close()

    def _send(self, model: str, request_id: str, fields: Fields) -> Any:
        message = infer_request(model, request_id, fields)
        return self._stub.ModelStreamInfer(iter([message]), timeout=self._timeout_s)

    async def _send_when_known(self, request_id: str, fields: Fields, deadline: Deadline) -> Any:
        return self._send(await self._asked_model(deadline), request_id, fields)

    async def _asked_model(self, deadline: Deadline) -> str:
        """The model that answers text; raises LLMasOSError if the server does not say."""
        if self._model is None:
            try:
                reply = await self._stub.ModelMetadata(
                    ENGINE_METADATA, timeout=deadline.remaining_s()
                )
                self._model = model_of_metadata(reply)
            except grpc.aio.AioRpcError as error:
                self._model = model_after(error, deadline)
        return self._model

    async def _stop(self, request_id: str) -> None:
        """Tells the engine itself to stop, since Triton does not pass on a cancelled ensemble."""
        with suppress(
            grpc.aio.AioRpcError, grpc.aio.UsageError
        ):  # the server is gone, and the request with it
            request = stop_request(request_id)
            async for _ in self._stub.ModelStreamInfer(iter([request]), timeout=STOP_TIMEOUT_S):
                pass


class _Answer:
    """The responses of one call.

    One task reads at a time. A task that ends the answer meanwhile waits a bounded time for the
    reader to get its piece.
    """

    def __init__(self, call: asyncio.Future[Any], deadline: Deadline) -> None:
        """call: the gRPC call, once it is known which model it asks."""
        self._call = call
        self._deadline = deadline
        self._reading = asyncio.Lock()
        self._broken = False

    async def next_piece(self) -> StreamPiece:
        async with self._reading:
            try:
                return await _next_piece(await asyncio.shield(self._call))
            except grpc.aio.AioRpcError as error:
                raise error_of_call(error, self._deadline) from error
            except (asyncio.CancelledError, asyncio.InvalidStateError) as error:
                if self._broken:  # the call was cancelled, and not the task
                    raise EngineStoppedError("the stream is closed") from error
                raise

    async def let_end(self) -> None:
        """Lets a stopped request end by itself, as `triton_grpc` does, for a bounded time."""
        try:
            await asyncio.wait_for(self._rest(), STOP_TIMEOUT_S)
        except (
            grpc.aio.AioRpcError,
            LLMasOSError,
            asyncio.TimeoutError,
            asyncio.CancelledError,
            asyncio.InvalidStateError,
        ):
            self._broken = True
            self._cancel()

    async def _rest(self) -> None:
        async with self._reading:
            await _drain(await asyncio.shield(self._call))

    def _cancel(self) -> None:
        """Cancels the call, also if it is not sent yet."""
        if not self._call.done():
            self._call.cancel()
        elif not self._call.cancelled() and self._call.exception() is None:
            self._call.result().cancel()


async def _next_piece(call: Any) -> StreamPiece:
    async for response in call:
        if response.error_message:
            await _drain(call)
            raise error_of_text(response.error_message)
        values = values_of(response.infer_response)
        if not values:
            continue  # an empty response that only carries the final flag
        piece = piece_of(values)
        if piece.is_last:
            await _drain(call)
        return piece
    raise EngineStoppedError("the server ended the stream before the answer was whole")


async def _drain(call: Any) -> None:
    async for _ in call:
        pass
