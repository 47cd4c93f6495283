"""Waiting for what happens, and not for a time: a busy machine makes a test slower, not red."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""How long a test waits for what takes a moment on a quiet machine."""


def wait_until(condition: Callable[[], object]) -> None:
    """Return when the condition is true; fails when it has not become so in a minute."""
    ends_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.005)


async def until(condition: Callable[[], object]) -> None:
    """As `wait_until`, for asyncio."""
    ends_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen in time"
        await asyncio.sleep(0.005)
