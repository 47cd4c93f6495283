"""Reads calls of tools in the text of an answer.

A model writes a call in the form that its chat template taught it:

    Hermes, Qwen    <tool_call>{"name": "f", "arguments": {…}}</tool_call>, any number of them
    Llama 3         {"name": "f", "parameters": {…}}, the whole answer; several have a ; between
    Mistral         [TOOL_CALLS] [{"name": "f", "arguments": {…}}, …], the whole answer

Text that only looks like a call, or a call that is cut off, stays text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from llmasos_serving.gateway.answer.held_text import split_at

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MISTRAL = "[TOOL_CALLS]"
_LLAMA = "<|python_tag|>"


class CallFormat(Enum):
    """How a model writes calls."""

    HERMES = "hermes"
    LLAMA3 = "llama3"
    MISTRAL = "mistral"


class ToolCall(NamedTuple):
    """A call of a function. arguments: JSON, an object."""

    name: str
    arguments: str


class Found(NamedTuple):
    """What new text has brought."""

    content: str = ""
    calls: tuple[ToolCall, ...] = ()


def call_format(template: str | None) -> CallFormat | None:
    """The format that a chat template teaches; None if it knows none that is read here."""
    if template is None:
        return None
    if _OPEN in template:
        return CallFormat.HERMES
    if _MISTRAL in template:
        return CallFormat.MISTRAL
    if _LLAMA in template or '"parameters"' in template:
        return CallFormat.LLAMA3
    return None


class CallReader:
    """Takes the text of one answer piece by piece; the pieces' borders change nothing."""

    def __init__(self, form: CallFormat) -> None:
        self._form = form
        self._held = ""
        self._is_inside = False
        self._is_plain = False

    def push(self, text: str) -> Found:
        self._held += text
        if self._form is CallFormat.HERMES:
            return self._hermes()
        if self._is_plain or not self._may_be_calls():
            self._is_plain = True
            return self._all()
        return Found()

    def finish(self) -> Found:
        """Returns what was held back: as calls if it is whole, else as text."""
        if self._form is CallFormat.HERMES:
            held = f"{_OPEN}{self._held}" if self._is_inside else self._held
            return Found(content=held)
        if self._is_plain:
            return self._all()
        calls = _calls_of(_documents(_without_marker(self._held)))
        return Found(calls=calls) if calls else self._all()

    def _hermes(self) -> Found:
        content, calls = "", list[ToolCall]()
        while True:
            marker = _CLOSE if self._is_inside else _OPEN
            before, rest, found = split_at(self._held, marker)
            if not found:
                if not self._is_inside:
                    content, self._held = content + before, rest
                break
            self._held = rest
            if self._is_inside:
                call = _calls_of(_documents(before))
                calls += call
                content += "" if call else f"{_OPEN}{before}{_CLOSE}"
            else:
                content += before
            self._is_inside = not self._is_inside
        return Found(content if content.strip() or not calls else "", tuple(calls))

    def _may_be_calls(self) -> bool:
        """Whether the text so far can be the beginning of calls alone."""
        begun = self._held.lstrip()
        marker = _MISTRAL if self._form is CallFormat.MISTRAL else _LLAMA
        if marker.startswith(begun) or begun.startswith(marker):
            return True
        opening = "[{" if self._form is CallFormat.MISTRAL else "{"
        compact = "".join(begun[:64].split())
        return compact.startswith(opening) or opening.startswith(compact)

    def _all(self) -> Found:
        held, self._held = self._held, ""
        return Found(content=held)


def _without_marker(text: str) -> str:
    text = text.strip()
    for marker in (_MISTRAL, _LLAMA):
        text = text.removeprefix(marker)
    return text


def _documents(text: str) -> list[Any] | None:
    """The JSON documents of a text, with ; or space between; None if it is anything else."""
    decoder, documents, place = json.JSONDecoder(), list[Any](), 0
    text = text.strip()
    while place < len(text):
        try:
            document, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        documents += document if isinstance(document, list) else [document]
        while place < len(text) and text[place] in "; \n\r\t":
            place += 1
    return documents


def _calls_of(documents: Iterable[Any] | None) -> tuple[ToolCall, ...]:
    """The calls, or none if a document is no call."""
    calls: list[ToolCall] = []
    for document in documents or ():
        call = _call_of(document)
        if call is None:
            return ()
        calls.append(call)
    return tuple(calls)


def _call_of(document: Any) -> ToolCall | None:
    if not isinstance(document, Mapping) or not isinstance(document.get("name"), str):
        return None
    arguments = document.get("arguments", document.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(arguments, Mapping):
        return None
    return ToolCall(document["name"], json.dumps(arguments, ensure_ascii=False))
