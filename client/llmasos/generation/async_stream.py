"""One answer while it is being made, for asyncio: a stream that a task can leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from llmasos.forked import OwnProcess
from llmasos.generation.stream import join
from llmasos.outputs import Generation, StreamPiece


class AsyncPieceStream:
    """The pieces of one request, in order; the last one has finish_reason and usage.

    Leaving the stream before its last piece (`break`, `aclose`, leaving its `async with` block,
    dropping it, or cancelling the task that waits for a piece) cancels the request, so that it
    takes no more steps. In a forked child it yields no more pieces, and leaving it does nothing.

    receive: waits for the next piece; raises an LLMasOSError if the request failed.
    cancel: ends the request at its source. abandon: does the same without waiting.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[StreamPiece]],
        cancel: Callable[[], Awaitable[object]],
        abandon: Callable[[], object],
    ) -> None:
        self._receive = receive
        self._cancel = cancel
        self._abandon = abandon
        self._process = OwnProcess("this stream")
        self._open = True

    def __aiter__(self) -> AsyncPieceStream:
        return self

    async def __anext__(self) -> StreamPiece:
        if not self._open:
            raise StopAsyncIteration
        self._process.check()
        try:
            piece = await self._receive()
        except BaseException:
            await self.aclose()
            raise
        if piece.is_last:
            self._open = False
        return piece

    async def __aenter__(self) -> AsyncPieceStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._open:
            self._open = False
            if self._process.is_this:
                self._abandon()

    async def aclose(self) -> None:
        """Cancel the request if it has not finished; calling it again does nothing."""
        if self._open:
            self._open = False
            if not self._process.is_this:
                return
            await asyncio.shield(asyncio.ensure_future(self._cancel()))

    async def read(self) -> Generation:
        """Wait for the rest and return it as one Generation."""
        return join([piece async for piece in self])
