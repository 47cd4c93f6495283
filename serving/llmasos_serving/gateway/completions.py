"""POST /v1/completions: OpenAI's completions of plain text."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from llmasos.outputs import FinishReason, StreamPiece, TokenLogprob, Usage
from pydantic import Field
from starlette.responses import Response

from llmasos_serving.gateway.answers import Answers, total_usage
from llmasos_serving.gateway.fields import Sampling
from llmasos_serving.gateway.logprobs import text_logprobs
from llmasos_serving.gateway.served_model import ServedModel
from llmasos_serving.gateway.settings import GatewaySettings
from llmasos_serving.gateway.sse import KEEP_ALIVE, event, event_stream

_DEFAULT_MAX_TOKENS = 16
"""OpenAI's own."""


class CompletionRequest(Sampling):
    """The body of POST /v1/completions."""

    not_supported: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "best_of": ("send n", (1,)),
        "suffix": ("", ("",)),
    }

    model: str
    prompt: str | list[str] = Field(min_length=1)
    max_tokens: int = Field(_DEFAULT_MAX_TOKENS, ge=1)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False
    add_special_tokens: bool = True

    @property
    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class TextCompletion:
    """One request and its answers: `n` for each prompt, those of one prompt beside each other."""

    def __init__(self, model: ServedModel, request: CompletionRequest) -> None:
        each = request.params(max_tokens=request.max_tokens, logprobs=request.logprobs)
        self._model = model
        self._created = int(time.time())
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._n = request.n
        self._begin = [prompt if request.echo else "" for prompt in request.prompts for _ in each]
        self._usages: dict[int, Usage] = {}
        self._has_logprobs = request.logprobs is not None
        self._offsets = [len(text) for text in self._begin]
        self.answers = Answers(
            [
                model.client.stream(prompt, params, add_special_tokens=request.add_special_tokens)
                for prompt in request.prompts
                for params in each
            ]
        )

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        texts, reasons = list(self._begin), [""] * len(self._begin)
        tokens: list[list[TokenLogprob]] = [[] for _ in self._begin]
        async with aclosing(self.answers):
            async for item in self.answers.pieces(idle_s=1e9):
                if item is not None:
                    index, piece = item
                    texts[index] += piece.text
                    tokens[index] += piece.logprobs
                    reasons[index] = self._ended(index, piece) or reasons[index]
        choices = [
            _choice(index, text, reason, self._logprobs(index, tokens[index]))
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        return self._object(choices, usage=self._usage())

    async def chunks(
        self, *, idle_s: float, with_usage: bool
    ) -> AsyncIterator[dict[str, Any] | None]:
        """Chunks as they come; None where nothing comes for a while."""
        async with aclosing(self.answers):
            for index, text in enumerate(self._begin):
                if text:
                    yield self._object([_choice(index, text, None)])
            async for item in self.answers.pieces(idle_s=idle_s):
                if item is None:
                    yield None
                    continue
                index, piece = item
                reason = self._ended(index, piece)
                if piece.text or piece.logprobs or reason:
                    logprobs = self._logprobs(index, piece.logprobs)
                    yield self._object([_choice(index, piece.text, reason, logprobs)])
        if with_usage:
            yield self._object([], usage=self._usage())

    def _logprobs(self, index: int, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self._has_logprobs:
            return None
        offset = self._offsets[index]
        found = text_logprobs(tokens, self._model.tokenizer, offset=offset)
        self._offsets[index] = offset + sum(map(len, found["tokens"]))
        return found

    def _ended(self, index: int, piece: StreamPiece) -> str | None:
        if piece.finish_reason is None or piece.usage is None:
            return None
        self._usages[index] = piece.usage
        return "length" if piece.finish_reason is FinishReason.LENGTH else "stop"

    def _usage(self) -> dict[str, Any]:
        """Of all prompts: each counts once."""
        indices = range(0, len(self._usages), self._n)
        parts = [
            total_usage([self._usages[i] for i in range(first, first + self._n)])
            for first in indices
        ]
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        return {name: sum(int(str(part[name])) for part in parts) for name in names}

    def _object(self, choices: list[Any], **more: Any) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model.name,
            "choices": choices,
            **more,
        }


def _choice(
    index: int, text: str, reason: str | None, logprobs: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


async def text_completion(
    model: ServedModel, request: CompletionRequest, settings: GatewaySettings
) -> Response | dict[str, Any]:
    """Answers one request. An error that comes before the first piece has its HTTP status."""
    completion = TextCompletion(model, request)
    if not request.stream:
        return await completion.whole()
    try:
        await completion.answers.begin(settings.first_piece_s)
    except BaseException:
        await completion.answers.aclose()
        raise
    chunks = completion.chunks(idle_s=settings.keep_alive_s, with_usage=request.wants_usage)
    return event_stream(_events(chunks))


async def _events(chunks: AsyncIterator[dict[str, Any] | None]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield KEEP_ALIVE if chunk is None else event(chunk)
