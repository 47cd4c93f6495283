"""POST /v1/chat/completions: OpenAI's chat completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from llmasos.outputs import FinishReason, StreamPiece, TokenLogprob, Usage
from starlette.responses import Response

from llmasos_serving.gateway.answer.answer_reader import AnswerReader, Delta, message_of
from llmasos_serving.gateway.answer.tool_grammar import forced_call
from llmasos_serving.gateway.answers import Answers, total_usage
from llmasos_serving.gateway.api_error import unsupported
from llmasos_serving.gateway.chat_fields import ChatRequest
from llmasos_serving.gateway.logprobs import chat_logprobs
from llmasos_serving.gateway.served_model import ServedModel
from llmasos_serving.gateway.settings import GatewaySettings
from llmasos_serving.gateway.sse import KEEP_ALIVE, event, event_stream

_FINISH_REASONS = {FinishReason.LENGTH: "length"}


@dataclass(slots=True)
class Choice:
    """One of the answers, as it is read."""

    reader: AnswerReader
    deltas: list[Delta] = field(default_factory=list[Delta])
    finish_reason: str | None = None
    usage: Usage | None = None
    stop_string: str | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])

    def push(self, piece: StreamPiece) -> list[Delta]:
        """The deltas that a piece brings."""
        deltas = self.reader.push(piece.text)
        if piece.finish_reason is not None:
            deltas += self.reader.finish()
            self.usage = piece.usage
            self.stop_string = piece.stop_reason
            self.finish_reason = _finish_reason(piece.finish_reason, self.reader)
        return deltas


def _finish_reason(reason: FinishReason, reader: AnswerReader) -> str:
    if reason is FinishReason.STOP and reader.num_calls:
        return "tool_calls"
    return _FINISH_REASONS.get(reason, "stop")


class ChatCompletion:
    """One request and its answers. Closing it ends what still runs in the engine."""

    def __init__(self, model: ServedModel, request: ChatRequest) -> None:
        """Starts the answers; raises ApiError or LLMasOSError."""
        if request.calls_tools and model.call_format is None:
            raise unsupported("tools", "the model's chat template has no calls that can be read")
        most = request.max_completion_tokens or request.max_tokens or model.max_seq_len
        options = request.options()
        form = model.call_format if request.calls_tools else None
        forced = request.forced_tools
        guide = forced_call(forced, form) if forced and form is not None else None
        self._model = model
        self._created = int(time.time())
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._has_logprobs = request.logprobs
        self.choices = [Choice(AnswerReader(form)) for _ in range(request.n)]
        self.answers = Answers(
            [
                model.client.stream_chat(request.messages, params, **options)
                for params in request.params(
                    max_tokens=most, logprobs=request.num_logprobs, guide=guide
                )
            ]
        )

    async def begin(self, timeout_s: float) -> None:
        """Waits for the first piece, or for so many seconds; raises an error that comes first."""
        try:
            await self.answers.begin(timeout_s)
        except BaseException:
            await self.answers.aclose()
            raise

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        async with aclosing(self.answers):
            async for item in self.answers.pieces(idle_s=1e9):
                if item is not None:
                    index, piece = item
                    choice = self.choices[index]
                    choice.deltas += choice.push(piece)
                    choice.logprobs += piece.logprobs
        choices = [
            {
                "index": index,
                "message": message_of(choice.deltas),
                "logprobs": self._logprobs(choice.logprobs),
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(self.choices)
        ]
        return self._object("chat.completion", choices, usage=self.usage())

    async def chunks(
        self, *, idle_s: float, with_usage: bool
    ) -> AsyncIterator[dict[str, Any] | None]:
        """Chunks as they come, each choice's role first; None where nothing comes for a while."""
        async with aclosing(self.answers):
            for index in range(len(self.choices)):
                yield self._chunk(index, {"role": "assistant", "content": ""})
            async for item in self.answers.pieces(idle_s=idle_s):
                if item is None:
                    yield None
                    continue
                index, piece = item
                deltas = self.choices[index].push(piece)
                if piece.logprobs and not deltas:
                    deltas = [{"content": ""}]
                for place, delta in enumerate(deltas):
                    tokens = () if place else piece.logprobs
                    yield self._chunk(index, delta, logprobs=tokens)
                if piece.finish_reason is not None:
                    yield self._chunk(index, {}, reason=self.choices[index].finish_reason)
        if with_usage:
            yield self._object("chat.completion.chunk", [], usage=self.usage())

    def usage(self) -> dict[str, Any]:
        """Tokens of the prompt and of all answers."""
        return total_usage([choice.usage for choice in self.choices if choice.usage is not None])

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        return chat_logprobs(tokens, self._model.tokenizer) if self._has_logprobs else None

    def _chunk(
        self,
        index: int,
        delta: Delta,
        *,
        reason: str | None = None,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> dict[str, Any]:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": self._logprobs(logprobs) if logprobs else None,
            "finish_reason": reason,
        }
        return self._object("chat.completion.chunk", [choice])

    def _object(self, kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model.name,
            "choices": choices,
            **more,
        }


async def chat_completion(
    model: ServedModel, request: ChatRequest, settings: GatewaySettings
) -> Response | dict[str, Any]:
    """Answers one request. An error that comes before the first piece has its HTTP status."""
    completion = ChatCompletion(model, request)
    if not request.stream:
        return await completion.whole()
    await completion.begin(settings.first_piece_s)
    chunks = completion.chunks(idle_s=settings.keep_alive_s, with_usage=request.wants_usage)
    return event_stream(_events(chunks))


async def _events(chunks: AsyncIterator[dict[str, Any] | None]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield KEEP_ALIVE if chunk is None else event(chunk)
