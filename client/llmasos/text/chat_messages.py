"""Checks the messages of a conversation and copies them as plain data.

A message keeps every field that its caller gave it, since templates differ in what they read:
`name`, `tool_calls`, `tool_call_id`, `reasoning_content` and others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmasos.errors import InvalidRequestError
from llmasos.files.plain_json import plain_json

Message = dict[str, Any]
# What a reasoning model thought, by the names that templates read; the first is the usual one.
REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")


def check_messages(messages: object) -> list[Message]:
    """Returns copies of the messages, without the fields that are None.

    Raises InvalidRequestError, naming the message and its field.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise InvalidRequestError(f"messages must be a list, got {type(messages).__name__}")
    if not messages:
        raise InvalidRequestError("messages must hold at least one message, got none")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InvalidRequestError(
                f"messages[{index}] must be an object, got {type(message).__name__}"
            )
    plain: list[Message] = plain_json(messages, "messages")
    return [_check(message, f"messages[{index}]") for index, message in enumerate(plain)]


def _check(message: Message, where: str) -> Message:
    present = {name: value for name, value in message.items() if value is not None}
    if "role" not in present:
        raise InvalidRequestError(f"{where} has no role")
    role = present["role"]
    if not isinstance(role, str) or not role:
        raise InvalidRequestError(f"{where}.role must be a non-empty string, got {role!r:.60}")
    if "tool_calls" in present:
        _check_tool_calls(present["tool_calls"], f"{where}.tool_calls")
    if "content" in present:
        present["content"] = _content(present["content"], f"{where}.content")
    elif not any(name in present for name in ("tool_calls", *REASONING_FIELDS)):
        raise InvalidRequestError(f"{where} has no content")
    return present


def _check_tool_calls(calls: object, where: str) -> None:
    if not isinstance(calls, list):
        raise InvalidRequestError(f"{where} must be a list of objects, got {type(calls).__name__}")
    for index, call in enumerate(calls):
        if not isinstance(call, dict):
            raise InvalidRequestError(
                f"{where}[{index}] must be an object, got {type(call).__name__}"
            )


def _content(content: object, where: str) -> str | list[Message]:
    """Returns a string or text parts; an empty list of parts is an empty text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequestError(
            f"{where} must be a string or a list of text parts, got {type(content).__name__}"
        )
    for index, part in enumerate(content):
        _check_part(part, f"{where}[{index}]")
    return content or ""


def _check_part(part: object, where: str) -> None:
    if not isinstance(part, dict) or part.get("type") != "text":
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        raise InvalidRequestError(f"{where} must be a text part, got {kind!r:.60}")
    text = part.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError(f"{where}.text must be a string, got {type(text).__name__}")
