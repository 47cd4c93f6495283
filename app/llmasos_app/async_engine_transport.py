"""The transport to an engine in this process, for asyncio.

Encoding a long prompt or rendering a conversation would block the event loop, so both are done in
a thread. A stream may be left before that is done.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.generation.transport import (
    ChatPrompt,
    GenerationRequest,
    Prompt,
    TextPrompt,
    TokenPrompt,
)
from llmasos.outputs import StreamPiece
from llmasos.sampling import SamplingParams
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.sequences.request import Update, piece_of

from llmasos_app.engine_transport import prompt_encoder, request_of, tokens_of

_SHORT = 4096
"""Prompts of at most so many characters are encoded on the event loop, in a millisecond or two."""


class AsyncEngineTransport:
    """engine: is closed together with this object. The length of its queue limits requests."""

    max_concurrent: int | None = None

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._encoder = prompt_encoder(engine)

    async def prepare(self, prompt: Prompt) -> TokenPrompt:
        return await asyncio.to_thread(tokens_of, prompt, self._encoder)

    def start(self, request: GenerationRequest) -> AsyncPieceStream:
        encode = partial(tokens_of, request.prompt, self._encoder)
        begun = _AsyncRequest(self._engine, request.params)
        if not _takes_long(request.prompt):
            begun.submit(encode)
            return begun.stream()
        submitted = asyncio.get_running_loop().run_in_executor(None, begun.submit, encode)
        submitted.add_done_callback(_retrieve)
        return begun.stream(submitted)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._engine.close)


def _takes_long(prompt: Prompt) -> bool:
    if isinstance(prompt, TextPrompt):
        return len(prompt.text) > _SHORT
    return isinstance(prompt, ChatPrompt)


class _AsyncRequest:
    """submit may run in any thread, and the request be left at any moment of it."""

    def __init__(self, engine: Engine, params: SamplingParams) -> None:
        self._engine = engine
        self._params = params
        self._id = uuid.uuid4().hex
        self._loop = asyncio.get_running_loop()
        self._updates: asyncio.Queue[Update] = asyncio.Queue()
        self._is_left = False

    def submit(self, encode: Callable[[], TokenPrompt]) -> None:
        if self._is_left:
            return
        request = request_of(encode(), self._params, request_id=self._id)
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
