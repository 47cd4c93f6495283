"""One request of AsyncLLM: its prompt is encoded, it is submitted, and its updates come back.

Encoding a long prompt, or rendering a conversation, takes too long for an event loop, which
runs nothing else meanwhile. So it is done in a thread, and a stream may be left before it is
done.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.outputs import StreamPiece
from llmasos.sampling import SamplingParams
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.sequences.request import Request, Update, piece_of


def start(
    engine: Engine, encode: Callable[[], Sequence[int]], params: SamplingParams
) -> AsyncPieceStream:
    """Encode here and submit; raises what either raises."""
    request = _AsyncRequest(engine, params)
    request.submit(encode)
    return request.stream()


def start_in_thread(
    engine: Engine, encode: Callable[[], Sequence[int]], params: SamplingParams
) -> AsyncPieceStream:
    """Encode in a thread and submit from there; what either raises, the first piece raises."""
    request = _AsyncRequest(engine, params)
    submitted = asyncio.get_running_loop().run_in_executor(None, request.submit, encode)
    submitted.add_done_callback(_retrieve)
    return request.stream(submitted)


class _AsyncRequest:
    """submit may run in any thread, and the request be left at any moment of it."""

    def __init__(self, engine: Engine, params: SamplingParams) -> None:
        self._engine = engine
        self._params = params
        self._id = uuid.uuid4().hex
        self._loop = asyncio.get_running_loop()
        self._updates: asyncio.Queue[Update] = asyncio.Queue()
        self._is_left = False

    def submit(self, encode: Callable[[], Sequence[int]]) -> None:
        if self._is_left:
            return
        token_ids = tuple(encode())
        request = Request(request_id=self._id, prompt_token_ids=token_ids, params=self._params)
        self._engine.submit(request, self._sink)
        if self._is_left:  # before the engine knew the request
            self._engine.cancel(self._id)

    def stream(self, submitted: asyncio.Future[None] | None = None) -> AsyncPieceStream:
        """submitted: is awaited before the first piece."""

        async def receive() -> StreamPiece:
            if submitted is not None:
                await submitted
            return piece_of(await self._updates.get())

        async def cancel() -> None:
            self._is_left = True
            self._engine.cancel(self._id)

        def abandon() -> None:
            self._is_left = True
            self._engine.abandon(self._id)

        return AsyncPieceStream(receive, cancel, abandon)

    def _sink(self, update: Update) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._updates.put_nowait, update)


def _retrieve(submitted: asyncio.Future[None]) -> None:
    """A stream that was left does not ask for its error any more."""
    if not submitted.cancelled():
        submitted.exception()
