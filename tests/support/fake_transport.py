"""Transports whose requests are answered when the test says so, with the prompt as the text."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from llmasos.errors import InvalidRequestError, QueueFullError
from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.generation.stream import PieceStream
from llmasos.generation.transport import ChatPrompt, GenerationRequest, Prompt, TextPrompt
from llmasos.outputs import FinishReason, StreamPiece, Usage


@dataclass
class Room:
    """What a transport was asked for, and how many of it ran together.

    queue_size: a request beyond that many is refused. max_concurrent: what generate keeps to.
    The prompts "refused" and "failing" raise, one when it is started and one when it is read.
    """

    max_concurrent: int | None = None
    queue_size: int = 1000
    asked: list[GenerationRequest] = field(default_factory=list)
    prepared: list[Prompt] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    cancelled: list[str] = field(default_factory=list)
    most: int = 0
    num_refused: int = 0
    num_closed: int = 0

    def admit(self, request: GenerationRequest) -> str:
        text = text_of(request.prompt)
        if len(self.running) >= self.queue_size:
            self.num_refused += 1
            raise QueueFullError(f"{self.queue_size} requests are already waiting")
        if text == "refused":
            raise InvalidRequestError("refused")
        self.asked.append(request)
        self.running.add(text)
        self.most = max(self.most, len(self.running))
        return text

    def answer(self, text: str) -> StreamPiece:
        if text == "failing":
            raise InvalidRequestError("failing")
        self.running.discard(text)
        return StreamPiece(
            text=text,
            token_ids=(),
            finish_reason=FinishReason.STOP,
            usage=Usage(num_prompt_tokens=1, num_output_tokens=1),
        )

    def cancel(self, text: str) -> None:
        self.running.discard(text)
        self.cancelled.append(text)


def text_of(prompt: Prompt) -> str:
    if isinstance(prompt, ChatPrompt):
        return str(prompt.messages[-1]["content"])
    assert isinstance(prompt, TextPrompt)
    return prompt.text


class FakeTransport:
    """Answers a request as soon as it is read."""

    def __init__(self, room: Room) -> None:
        self._room = room

    @property
    def max_concurrent(self) -> int | None:
        return self._room.max_concurrent

    def prepare(self, prompt: Prompt) -> Prompt:
        self._room.prepared.append(prompt)
        return prompt

    def start(self, request: GenerationRequest) -> PieceStream:
        text = self._room.admit(request)
        return PieceStream(
            lambda: self._room.answer(text), lambda: self._room.cancel(text), lambda: None
        )

    def close(self) -> None:
        self._room.num_closed += 1


class FakeAsyncTransport:
    """Answers requests in the order in which `released` names them, or at once if it is None."""

    def __init__(self, room: Room, released: deque[str] | None = None) -> None:
        self._room = room
        self._released = released

    @property
    def max_concurrent(self) -> int | None:
        return self._room.max_concurrent

    async def prepare(self, prompt: Prompt) -> Prompt:
        self._room.prepared.append(prompt)
        return prompt

    def start(self, request: GenerationRequest) -> AsyncPieceStream:
        text = self._room.admit(request)

        async def receive() -> StreamPiece:
            if self._released is not None:
                while not self._released or self._released[0] != text:
                    await asyncio.sleep(0)
                self._released.popleft()
            return self._room.answer(text)

        async def cancel() -> None:
            self._room.cancel(text)

        return AsyncPieceStream(receive, cancel, lambda: None)

    async def aclose(self) -> None:
        self._room.num_closed += 1
