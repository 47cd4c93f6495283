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
from tritonclient.grpc import service_pb2_grpc

from llmasos.error_codes import error_of_text
from llmasos.errors import EngineStoppedError, LLMasOSError
from llmasos.forked import OwnProcess
from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.generation.transport import GenerationRequest, Prompt
from llmasos.outputs import StreamPiece
from llmasos.triton.transport.asked_model import ENGINE, ENSEMBLE, AskedModel, known_model
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
from llmasos.triton.transport.triton_grpc import CHANNEL_OPTIONS, error_of_call, model_after


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
        self._name = model
        self._asked = known_model(model)
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
        if self._asked is None:
            call = loop.create_task(self._send_when_known(request_id, fields, deadline))
        else:
            call = loop.create_future()
            call.set_result(self._send(self._asked, request_id, fields))
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
            asked = await self._asked_model(Deadline.after(READY_TIMEOUT_S))
            request = ready_request(asked.model)
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

    def _send(self, asked: AskedModel, request_id: str, fields: Fields) -> Any:
        message = infer_request(asked, request_id, fields)
        return self._stub.ModelStreamInfer(iter([message]), timeout=self._timeout_s)

    async def _send_when_known(self, request_id: str, fields: Fields, deadline: Deadline) -> Any:
        return self._send(await self._asked_model(deadline), request_id, fields)

    async def _asked_model(self, deadline: Deadline) -> AskedModel:
        """The model that answers text; raises LLMasOSError if the server does not say."""
        if self._asked is None:
            try:
                engine = await self._engine_of(deadline)
                if engine is None:
                    return AskedModel(self._name or ENSEMBLE)
                request = metadata_request(engine)
                reply = await self._stub.ModelMetadata(request, timeout=deadline.remaining_s())
                self._asked = model_of_metadata(reply, engine, self._name)
            except grpc.aio.AioRpcError as error:
                return model_after(error, self._name, deadline)
        return self._asked

    async def _engine_of(self, deadline: Deadline) -> str | None:
        if self._name is None:
            return ENGINE
        request = config_request(self._name)
        return engine_of_config(
            await self._stub.ModelConfig(request, timeout=deadline.remaining_s())
        )

    async def _stop(self, request_id: str) -> None:
        """Tells the engine itself to stop, since Triton does not pass on a cancelled ensemble."""
        with suppress(
            grpc.aio.AioRpcError, grpc.aio.UsageError, LLMasOSError
        ):  # the server is gone, and the request with it
            asked = await self._asked_model(Deadline.after(STOP_TIMEOUT_S))
            request = stop_request(asked, request_id)
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
