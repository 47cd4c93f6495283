"""Ends the work on a request when its client goes before there is anything to send."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

_CLIENT_CLOSED_REQUEST = 499
"""As nginx logs it; nobody receives it."""
_Answer = TypeVar("_Answer")


async def unless_gone(request: Request, work: Coroutine[Any, Any, _Answer]) -> _Answer | Response:
    """Returns what `work` returns, or cancels it when the client disconnects.

    request: its body has been read. An error of `work` is raised. A response that `work` returns
    looks after its own client while it is sent.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    finally:
        for task in (working, watching):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _departure(request: Request) -> None:
    """Waits until the client has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
