"""The events of an HTTP answer of Triton, each as plain values by the names of its tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any, cast

from llmasos.error_codes import error_of_text
from llmasos.errors import EngineStoppedError, LLMasOSError
from llmasos.triton.transport.base import TOKENS

_EVENT = b"data: "
_NUM_SHOWN_BYTES = 80


def events_of(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """Yields each event of a stream; a single JSON object counts as one. Raises LLMasOSError."""
    if response.status != HTTPStatus.OK:
        raise _refusal(response.status, response.read())
    if "text/event-stream" not in response.headers.get("Content-Type", ""):
        yield _first_elements(json_object(response.read()))
        return
    for line in response:
        if line.startswith(_EVENT):
            event = json_object(line[len(_EVENT) :])
            if "error" in event:
                raise error_of_text(str(event["error"]))
            yield _first_elements(event)


def json_object(text: bytes) -> dict[str, Any]:
    """Returns a JSON object; raises EngineStoppedError for text that is none, or is cut."""
    try:
        values: Any = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        shown = text[:_NUM_SHOWN_BYTES].decode("utf-8", "replace")
        raise EngineStoppedError(f"the server's answer is not a whole JSON object: {shown!r}")
    return cast("dict[str, Any]", values)


def _first_elements(event: dict[str, Any]) -> dict[str, Any]:
    """Unpacks tensors: those of one element arrive as plain values, others as lists.

    Of the token ids all are kept, of other outputs the first element.
    """
    lists = {n: v if isinstance(v, list) else [v] for n, v in event.items() if v != []}
    return {name: values if name == TOKENS else values[0] for name, values in lists.items()}


def _refusal(status: int, body: bytes) -> LLMasOSError:
    text = body.removeprefix(_EVENT).decode("utf-8", "replace").strip()
    try:
        message = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        message = text or f"HTTP status {status}"
    return error_of_text(message, refused=status < HTTPStatus.INTERNAL_SERVER_ERROR)
