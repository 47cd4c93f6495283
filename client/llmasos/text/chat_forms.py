"""Finds the form of a conversation that its template reads, by rendering it with marks.

Some templates print a message's content as a string, some iterate over its parts, some do both;
some print the arguments of a tool call as they are, some encode an object as JSON. The wrong
form ends as the representation of a Python object, or is silently lost. So each text gets a
mark, the template renders them, and a message whose mark is missing is tried in its other form.
A text that is printed in neither form is an error.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmasos.errors import InvalidRequestError
from llmasos.text.chat_messages import Message

# What stands before a word that was printed as a Python object, or as JSON in JSON.
_AROUND = r"(?:'|\\\")"
Render = Callable[[Sequence[Message]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A word put into or around a text, and what its presence tells about the message's form.

    field: the marked field. printed: text that must be in the result, or the field is lost.
    wrong: text that must not be: the mark between quotes or backslashes, which shows a Python
    object or double encoding. may_be_lost: True for fields that a template may leave out.
    """

    index: int
    field: str
    printed: str
    wrong: str = ""
    may_be_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """The outcome of one rendering: the fields that were lost and those printed wrongly."""

    lost: tuple[_Mark, ...]
    wrong: tuple[_Mark, ...]

    @property
    def fits(self) -> bool:
        return not self.lost and not self.wrong


def form_that_is_read(messages: Sequence[Message], render: Render) -> list[Message]:
    """Returns the messages with contents and arguments in the form that the template prints.

    render: raises InvalidRequestError where the template refuses. Raises InvalidRequestError
    naming the first message whose text the template does not print, and what render raises.
    """
    given = list(messages)
    first: _Trial | None = None
    for candidate in _candidates(given):
        trial = _try(candidate, render)
        first = trial if candidate is given else first
        if trial is None:
            continue
        if trial.fits:
            return candidate
        changed = _in_other_form(candidate, (*trial.lost, *trial.wrong))
        second = _try(changed, render)
        if second is not None and second.fits:
            return changed
    if first is None:
        _check_without_marks(given, render(given))
    elif first.lost:
        raise _lost(first.lost[0].index, first.lost[0].field)
    return given


def _candidates(given: list[Message]) -> Iterator[list[Message]]:
    yield given
    for change in (_as_text, _as_part, _with_other_arguments):
        candidate = [change(message) for message in given]
        if candidate != given:
            yield candidate
            if change is not _with_other_arguments:
                both = [_with_other_arguments(message) for message in candidate]
                if both != candidate:
                    yield both


def _try(messages: list[Message], render: Render) -> _Trial | None:
    """Renders messages with marks; None if the template refuses them."""
    marks: list[_Mark] = []
    word = f"q{secrets.token_hex(8)}"
    marked = [_marked(message, i, word, marks) for i, message in enumerate(messages)]
    try:
        rendered = render(marked).casefold()
    except InvalidRequestError:
        return None
    found = {(m[1], m[2]) for m in re.finditer(rf"({_AROUND}?)({word}[ackn\d]+e)", rendered)}
    printed, wrong = {name for _, name in found}, {around + name for around, name in found}
    return _Trial(
        lost=tuple(m for m in marks if m.printed not in printed and not m.may_be_lost),
        wrong=tuple(m for m in marks if m.wrong in wrong),
    )


def _marked(message: Message, index: int, word: str, marks: list[_Mark]) -> Message:
    changed = dict(message)
    if "content" in message:
        changed["content"] = _marked_content(message, index, f"{word}c{index}", marks)
    if message.get("tool_calls"):
        changed["tool_calls"] = [
            _marked_call(call, index, f"{word}a{index}n{i}e", marks)
            for i, call in enumerate(message["tool_calls"])
        ]
    return changed


def _marked_content(message: Message, index: int, word: str, marks: list[_Mark]) -> Any:
    content = message["content"]
    # Many templates print a message that calls tools as its calls alone.
    may_be_lost = bool(message.get("tool_calls"))
    if isinstance(content, str):
        if not content.strip():
            return content
        marks.append(
            _Mark(index=index, field="content", printed=f"{word}e", may_be_lost=may_be_lost)
        )
        return f"{content}{word}e"
    parts: list[Message] = []
    for i, part in enumerate(content):
        text, key = f"{word}n{i}e", f"{word}k{i}e"
        blank = not part["text"].strip()
        marks.append(
            _Mark(
                index=index,
                field="content",
                printed=text,
                wrong=f"'{key}",
                may_be_lost=may_be_lost or blank,
            )
        )
        parts.append({**part, "text": part["text"] + ("" if blank else text), key: ""})
    return parts


def _marked_call(call: Message, index: int, word: str, marks: list[_Mark]) -> Message:
    """A tool call with one more argument."""
    holder = _holder(call)
    arguments = holder.get("arguments")
    as_object = _parsed(arguments)
    if as_object is None:
        return call
    marked: Any = {**as_object, word: word}
    wrong = f"'{word}"
    if isinstance(arguments, str):
        marked, wrong = json.dumps(marked, ensure_ascii=False), f'\\"{word}'
    marks.append(_Mark(index=index, field="tool_calls", printed=word, wrong=wrong))
    return _with_holder(call, {**holder, "arguments": marked})


def _in_other_form(messages: list[Message], faults: Sequence[_Mark]) -> list[Message]:
    contents = {mark.index for mark in faults if mark.field == "content"}
    calls = {mark.index for mark in faults if mark.field == "tool_calls"}
    changed = [_toggled(m) if i in contents else m for i, m in enumerate(messages)]
    return [_with_other_arguments(m) if i in calls else m for i, m in enumerate(changed)]


def _toggled(message: Message) -> Message:
    return _as_part(message) if isinstance(message.get("content"), str) else _as_text(message)


def _as_text(message: Message) -> Message:
    """Joins text parts into one text, with nothing between them."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": "".join(part["text"] for part in content)}


def _as_part(message: Message) -> Message:
    content = _as_text(message).get("content")
    if content is None:
        return message
    return {**message, "content": [{"type": "text", "text": content}]}


def _with_other_arguments(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    return {**message, "tool_calls": [_other_arguments(call) for call in message["tool_calls"]]}


def _other_arguments(call: Message) -> Message:
    """Swaps a JSON string of arguments for the object, or the object for its JSON."""
    holder = _holder(call)
    arguments = holder.get("arguments")
    as_object = _parsed(arguments)
    if as_object is None:
        return call
    other: Any = as_object
    if not isinstance(arguments, str):
        other = json.dumps(as_object, ensure_ascii=False)
    return _with_holder(call, {**holder, "arguments": other})


def _holder(call: Message) -> Message:
    """The object with name and arguments: `function` in OpenAI's format, or the call itself."""
    function = call.get("function")
    return function if isinstance(function, dict) else call


def _with_holder(call: Message, holder: Message) -> Message:
    return {**call, "function": holder} if isinstance(call.get("function"), dict) else holder


def _parsed(arguments: object) -> dict[str, Any] | None:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return arguments if isinstance(arguments, dict) else None


def _check_without_marks(messages: list[Message], rendered: str) -> None:
    """Checks a template that renders these messages but refuses them with marks."""
    printed = "".join(rendered.split())
    for index, message in enumerate(messages):
        text = _as_text(message).get("content") or ""
        if "".join(text.split()) not in printed and not message.get("tool_calls"):
            raise _lost(index, "content")


def _lost(index: int, field: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"messages[{index}].{field} is not printed by the model's chat template",
        hint="the model would not see it",
    )
