"""Server-sent events, with comments while nothing comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from llmasos.errors import LLMasOSError
from starlette.responses import StreamingResponse

from llmasos_serving.gateway.api_error import ApiError

KEEP_ALIVE = ": keep-alive\n\n"
DONE = "data: [DONE]\n\n"
OR_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole answer, or its stream", "content": {"text/event-stream": {}}}
}
"""For the document that describes the gateway: an answer may be a stream."""
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def event(data: Any, *, name: str = "") -> str:
    """One event; name: its type, where the API has types."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"


def typed_event_stream(events: AsyncIterator[str]) -> StreamingResponse:
    """A response of events with types, as Anthropic's API has them: nothing marks their end."""
    return StreamingResponse(
        _with_typed_errors(events),
        media_type="text/event-stream; charset=utf-8",
        headers=_HEADERS,
    )


async def _with_typed_errors(events: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        async for one in events:
            yield one
    except LLMasOSError as error:
        yield event(ApiError.of(error).anthropic_body(), name="error")
    except ApiError as error:
        yield event(error.anthropic_body(), name="error")


def event_stream(events: AsyncIterator[str]) -> StreamingResponse:
    """A response of events. An error in the middle becomes an event, and [DONE] follows it."""
    return StreamingResponse(
        _ended(events), media_type="text/event-stream; charset=utf-8", headers=_HEADERS
    )


async def _ended(events: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        async for one in events:
            yield one
    except LLMasOSError as error:
        yield event(ApiError.of(error).body())
    except ApiError as error:
        yield event(error.body())
    yield DONE
