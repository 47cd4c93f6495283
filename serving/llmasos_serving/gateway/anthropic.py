"""POST /v1/messages: Anthropic's API, as a translation of a chat completion."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response

from llmasos_serving.gateway.answer.answer_reader import Delta
from llmasos_serving.gateway.anthropic_fields import MessagesRequest
from llmasos_serving.gateway.chat import ChatCompletion
from llmasos_serving.gateway.served_model import ServedModel
from llmasos_serving.gateway.settings import GatewaySettings
from llmasos_serving.gateway.sse import event, typed_event_stream

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class _Blocks:
    """The blocks of an answer, which its deltas open, fill and close."""

    def __init__(self) -> None:
        self._index = -1
        self._kind = ""

    def events(self, delta: Delta) -> list[dict[str, Any]]:
        """What a delta makes of the answer."""
        if "tool_calls" in delta:
            (call,) = delta["tool_calls"]
            function = call["function"]
            block = {"type": "tool_use", "id": call["id"], "name": function["name"], "input": {}}
            part = {"type": "input_json_delta", "partial_json": function["arguments"]}
            return [*self._begin("", block), self._delta(part)]
        if "reasoning_content" in delta:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            part = {"type": "thinking_delta", "thinking": delta["reasoning_content"]}
        else:
            block, part = (
                {"type": "text", "text": ""},
                {
                    "type": "text_delta",
                    "text": delta["content"],
                },
            )
        return [*self._begin(str(block["type"]), block), self._delta(part)]

    def end(self) -> list[dict[str, Any]]:
        """Closes the block that is open, if one is."""
        if self._index < 0:
            return []
        return [{"type": "content_block_stop", "index": self._index}]

    def _begin(self, kind: str, block: dict[str, Any]) -> list[dict[str, Any]]:
        """Opens a block of a kind, unless it is the one that is open. A call has one of its own."""
        if kind and kind == self._kind:
            return []
        closed = self.end()
        self._index += 1
        self._kind = kind
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return [*closed, start]

    def _delta(self, part: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": part}


class _Message:
    """One answer as Anthropic's API tells it."""

    def __init__(self, model: ServedModel, completion: ChatCompletion) -> None:
        self._completion = completion
        self._choice = completion.choices[0]
        self._model = model
        self._id = f"msg_{uuid.uuid4().hex}"

    async def whole(self) -> dict[str, Any]:
        await self._completion.whole()
        return {
            **self._begun(_content(self._choice.deltas)),
            **self._ending(),
            "usage": self._usage(),
        }

    async def events(self, *, idle_s: float) -> AsyncIterator[dict[str, Any]]:
        blocks = _Blocks()
        answers = self._completion.answers
        async with aclosing(answers):
            yield {"type": "message_start", "message": self._begun([])}
            async for item in answers.pieces(idle_s=idle_s):
                if item is None:
                    yield {"type": "ping"}
                    continue
                for delta in self._choice.push(item[1]):
                    for one in blocks.events(delta):
                        yield one
        for one in blocks.end():
            yield one
        yield {"type": "message_delta", "delta": self._ending(), "usage": self._usage()}
        yield {"type": "message_stop"}

    def _begun(self, content: list[Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model.name,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }

    def _ending(self) -> dict[str, Any]:
        reason = _STOP_REASONS[self._choice.finish_reason or "stop"]
        sequence = self._choice.stop_string if reason == "end_turn" else None
        return {
            "stop_reason": "stop_sequence" if sequence is not None else reason,
            "stop_sequence": sequence,
        }

    def _usage(self) -> dict[str, int]:
        usage = self._choice.usage
        assert usage is not None
        return {"input_tokens": usage.num_prompt_tokens, "output_tokens": usage.num_output_tokens}


def _content(deltas: list[Delta]) -> list[dict[str, Any]]:
    """The blocks of a whole answer."""
    blocks: list[dict[str, Any]] = []
    for one in (one for made in [_Blocks()] for delta in deltas for one in made.events(delta)):
        if one["type"] == "content_block_start":
            blocks.append(one["content_block"])
        elif one["type"] == "content_block_delta":
            part, block = one["delta"], blocks[-1]
            if part["type"] == "input_json_delta":
                block["input"] = json.loads(part["partial_json"])
            else:
                name = part["type"].removesuffix("_delta")
                block[name] += part[name]
    return blocks


async def message(
    model: ServedModel, request: MessagesRequest, settings: GatewaySettings
) -> Response | dict[str, Any]:
    """Answers one request. An error that comes before the first piece has its HTTP status."""
    completion = ChatCompletion(model, request.chat())
    answer = _Message(model, completion)
    if not request.stream:
        return await answer.whole()
    await completion.begin(settings.first_piece_s)
    return typed_event_stream(_texts(answer.events(idle_s=settings.keep_alive_s)))


async def _texts(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    async for one in events:
        yield event(one, name=one["type"])
