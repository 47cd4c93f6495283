"""Turns the text of one answer into the deltas of a chat completion."""

from __future__ import annotations

import uuid
from typing import Any

from llmasos_serving.gateway.answer.reasoning import ReasoningSplitter
from llmasos_serving.gateway.answer.tool_calls import CallFormat, CallReader, Found, ToolCall

Delta = dict[str, Any]
"""Part of a message: content, reasoning_content or tool_calls."""


class AnswerReader:
    """Takes text as it comes. form: how calls are written; None if no tools were given.

    num_calls: calls so far.
    """

    def __init__(self, form: CallFormat | None, *, begins_inside: bool = False) -> None:
        self._reasoning = ReasoningSplitter(begins_inside=begins_inside)
        self._calls = None if form is None else CallReader(form)
        self.num_calls = 0

    def push(self, text: str) -> list[Delta]:
        thought = self._reasoning.push(text)
        return [*_thought(thought.reasoning), *self._content(thought.content)]

    def finish(self) -> list[Delta]:
        """Returns the deltas of what was held back."""
        thought = self._reasoning.finish()
        deltas = [*_thought(thought.reasoning), *self._content(thought.content)]
        return deltas if self._calls is None else [*deltas, *self._found(self._calls.finish())]

    def _content(self, text: str) -> list[Delta]:
        if self._calls is None or not text:
            return [{"content": text}] if text else []
        return self._found(self._calls.push(text))

    def _found(self, found: Found) -> list[Delta]:
        content = [{"content": found.content}] if found.content else []
        return [*content, *map(self._call, found.calls)]

    def _call(self, call: ToolCall) -> Delta:
        index = self.num_calls
        self.num_calls += 1
        function = {"name": call.name, "arguments": call.arguments}
        one = {
            "index": index,
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": function,
        }
        return {"tool_calls": [one]}


def _thought(text: str) -> list[Delta]:
    return [{"reasoning_content": text}] if text else []


def message_of(deltas: list[Delta]) -> Delta:
    """The whole message of these deltas; content is None where there are only calls."""
    content = "".join(delta.get("content", "") for delta in deltas)
    reasoning = "".join(delta.get("reasoning_content", "") for delta in deltas)
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    message: Delta = {"role": "assistant", "content": content or (None if calls else "")}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        kept = ("id", "type", "function")
        message["tool_calls"] = [{name: call[name] for name in kept} for call in calls]
    return message
