"""Reads a conversation and its template's options from the inputs of a request."""

from __future__ import annotations

import json
from typing import Any

from llmasos.contract.text_tensors import CHAT_FLAGS, CHAT_OBJECTS
from llmasos.errors import InvalidRequestError
from llmasos.text.chat_options import ChatOptions

from llmasos_runtime.triton.fields import Fields


def conversation(text: str) -> list[dict[str, Any]]:
    """Returns the messages; raises InvalidRequestError if they are not a JSON list of objects."""
    messages = _parsed("messages", text)
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise InvalidRequestError("messages must be a JSON list of {role, content} objects")
    return messages


def chat_options(fields: Fields) -> ChatOptions:
    """Returns the template's options; raises InvalidRequestError naming the input."""
    values: dict[str, Any] = {
        name: _parsed(name, text) for name in CHAT_OBJECTS if (text := _text(fields, name))
    }
    values |= {name: fields.boolean(name) for name in CHAT_FLAGS}
    return ChatOptions(chat_template=_text(fields, "chat_template") or None, **values)


def refuse_chat_inputs(fields: Fields) -> None:
    """Refuses chat options without messages."""
    for name in (*CHAT_OBJECTS, "chat_template"):
        if _text(fields, name):
            raise InvalidRequestError(f"{name} needs messages, and none were sent")
    for name in CHAT_FLAGS:
        if fields.boolean(name) is not None:
            raise InvalidRequestError(f"{name} needs messages, and none were sent")


def _text(fields: Fields, name: str) -> str:
    return "".join(fields.texts(name))


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{name} is not JSON: {error}") from error
