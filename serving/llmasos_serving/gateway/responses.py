"""POST /v1/responses: OpenAI's later API, as a translation of a chat completion."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response

from llmasos_serving.gateway.answer.answer_reader import Delta
from llmasos_serving.gateway.chat import ChatCompletion
from llmasos_serving.gateway.responses_fields import ResponsesRequest
from llmasos_serving.gateway.served_model import ServedModel
from llmasos_serving.gateway.settings import GatewaySettings
from llmasos_serving.gateway.sse import KEEP_ALIVE, event, typed_event_stream

Event = dict[str, Any]


class _Output:
    """The items of a response, which deltas open and fill: text, reasoning and calls."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    def events(self, delta: Delta) -> Iterator[Event]:
        """What a delta makes of the response."""
        if "tool_calls" in delta:
            (call,) = delta["tool_calls"]
            yield from self._call(call)
            return
        is_thought = "reasoning_content" in delta
        kind = "reasoning" if is_thought else "message"
        if not self.items or self.items[-1]["type"] != kind or self.items[-1]["status"] != _OPEN:
            yield from self.end()
            yield from self._open(kind)
        part = self.items[-1]["content"][0]
        text = delta["reasoning_content"] if is_thought else delta["content"]
        part["text"] += text
        name = "reasoning_text" if is_thought else "output_text"
        yield self._at(f"response.{name}.delta", content_index=0, delta=text)

    def end(self, status: str = "completed") -> Iterator[Event]:
        """Closes the item that is open, if one is."""
        if not self.items or self.items[-1]["status"] != _OPEN:
            return
        item = self.items[-1]
        if item["type"] != "function_call":
            part = item["content"][0]
            name = part["type"]
            yield self._at(f"response.{name}.done", content_index=0, text=part["text"])
            yield self._at("response.content_part.done", content_index=0, part=part)
        item["status"] = status
        yield {
            "type": "response.output_item.done",
            "output_index": len(self.items) - 1,
            "item": item,
        }

    def _open(self, kind: str) -> Iterator[Event]:
        if kind == "message":
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            item = {"id": _id("msg"), "type": kind, "role": "assistant", "content": [part]}
        else:
            part = {"type": "reasoning_text", "text": ""}
            item = {"id": _id("rs"), "type": kind, "summary": [], "content": [part]}
        yield self._add({**item, "status": _OPEN})
        yield self._at("response.content_part.added", content_index=0, part=dict(part))

    def _call(self, call: dict[str, Any]) -> Iterator[Event]:
        yield from self.end()
        function = call["function"]
        item = {
            "id": _id("fc"),
            "type": "function_call",
            "call_id": call["id"],
            "name": function["name"],
            "arguments": function["arguments"],
            "status": _OPEN,
        }
        yield self._add(item)
        kind = "response.function_call_arguments"
        yield self._at(f"{kind}.delta", delta=function["arguments"])
        yield self._at(f"{kind}.done", arguments=function["arguments"], name=function["name"])
        yield from self.end()

    def _add(self, item: dict[str, Any]) -> Event:
        self.items.append(item)
        shown = {**item, "content": []} if "content" in item else {**item, "arguments": ""}
        index = len(self.items) - 1
        return {"type": "response.output_item.added", "output_index": index, "item": shown}

    def _at(self, kind: str, **more: Any) -> Event:
        index = len(self.items) - 1
        return {"type": kind, "item_id": self.items[-1]["id"], "output_index": index, **more}


_OPEN = "in_progress"


class _Response:
    """One response, as it is made."""

    def __init__(
        self, model: ServedModel, request: ResponsesRequest, completion: ChatCompletion
    ) -> None:
        self._model = model
        self._request = request
        self._completion = completion
        self._choice = completion.choices[0]
        self._output = _Output()
        self._id = _id("resp")
        self._created = int(time.time())

    async def whole(self) -> dict[str, Any]:
        async for _ in self.events(idle_s=1e9):
            pass
        return self._object()

    async def events(self, *, idle_s: float) -> AsyncIterator[Event | None]:
        """Events in their order, without their numbers; None where nothing comes for a while."""
        answers = self._completion.answers
        async with aclosing(answers):
            yield {"type": "response.created", "response": self._object()}
            yield {"type": "response.in_progress", "response": self._object()}
            async for item in answers.pieces(idle_s=idle_s):
                if item is None:
                    yield None
                    continue
                for delta in self._choice.push(item[1]):
                    for one in self._output.events(delta):
                        yield one
        for one in self._output.end("completed" if self._is_whole else "incomplete"):
            yield one
        kind = "response.completed" if self._is_whole else "response.incomplete"
        yield {"type": kind, "response": self._object()}

    @property
    def _is_whole(self) -> bool:
        return self._choice.finish_reason != "length"

    @property
    def _format(self) -> dict[str, Any]:
        text = self._request.text
        return (None if text is None else text.format) or {"type": "text"}

    def _object(self) -> dict[str, Any]:
        request, ended = self._request, self._choice.finish_reason is not None
        status = ("completed" if self._is_whole else "incomplete") if ended else _OPEN
        is_cut = ended and not self._is_whole
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "model": self._model.name,
            "output": self._output.items,
            "parallel_tool_calls": True,
            "temperature": request.temperature,
            "text": {"format": self._format},
            "tool_choice": request.model_dump()["tool_choice"] or "auto",
            "tools": request.tools or [],
            "top_p": request.top_p,
            "metadata": request.metadata or {},
            "usage": self._usage(),
        }

    def _usage(self) -> dict[str, Any] | None:
        usage = self._choice.usage
        if usage is None:
            return None
        return {
            "input_tokens": usage.num_prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.num_cached_tokens},
            "output_tokens": usage.num_output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.num_prompt_tokens + usage.num_output_tokens,
        }


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


async def response(
    model: ServedModel, request: ResponsesRequest, settings: GatewaySettings
) -> Response | dict[str, Any]:
    """Answers one request. An error that comes before the first piece has its HTTP status."""
    completion = ChatCompletion(model, request.chat())
    answer = _Response(model, request, completion)
    if not request.stream:
        return await answer.whole()
    await completion.begin(settings.first_piece_s)
    return typed_event_stream(_texts(answer.events(idle_s=settings.keep_alive_s)))


async def _texts(events: AsyncIterator[Event | None]) -> AsyncIterator[str]:
    numbers = itertools.count()
    async for one in events:
        if one is None:
            yield KEEP_ALIVE
        else:
            yield event({**one, "sequence_number": next(numbers)}, name=one["type"])
