"""The answers to one request, read together: each piece with the index of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.outputs import StreamPiece, Usage

IndexedPiece = tuple[int, StreamPiece]


class Answers:
    """Reads streams as their pieces come. Closing it ends those that still run.

    The first error of any of them ends all, and is raised.
    """

    def __init__(self, streams: Sequence[AsyncPieceStream]) -> None:
        self._streams = streams
        self._queue: asyncio.Queue[IndexedPiece | BaseException | None] = asyncio.Queue()
        self._tasks = [
            asyncio.create_task(self._read(index, stream)) for index, stream in enumerate(streams)
        ]
        self._first: IndexedPiece | None = None

    async def begin(self, timeout_s: float) -> None:
        """Waits for the first piece, or for so many seconds; raises an error that comes first."""
        with suppress(asyncio.TimeoutError):
            self._first = await asyncio.wait_for(self._next(), timeout_s)

    async def pieces(self, idle_s: float) -> AsyncIterator[IndexedPiece | None]:
        """Yields every piece, and None whenever none has come for so many seconds."""
        if self._first is not None:
            yield self._first
        while True:
            try:
                piece = await asyncio.wait_for(self._next(), idle_s)
            except asyncio.TimeoutError:
                yield None
                continue
            if piece is None:
                return
            yield piece

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for stream in self._streams:
            await stream.aclose()

    async def _next(self) -> IndexedPiece | None:
        """The next piece; None at the end of all answers."""
        while True:
            item = await self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is not None:
                return item
            if self._queue.empty() and all(task.done() for task in self._tasks):
                return None

    async def _read(self, index: int, stream: AsyncPieceStream) -> None:
        try:
            async for piece in stream:
                self._queue.put_nowait((index, piece))
        except Exception as error:  # noqa: BLE001 - it is raised to whoever reads
            self._queue.put_nowait(error)
        finally:
            asyncio.get_running_loop().call_soon(self._queue.put_nowait, None)


def total_usage(usages: Sequence[Usage]) -> dict[str, object]:
    """OpenAI's usage of one request: its prompt counts once, whatever the number of answers."""
    prompt = usages[0].num_prompt_tokens
    output = sum(usage.num_output_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": usages[0].num_cached_tokens},
    }
