"""How many requests a minute one client may send: a token bucket for each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

_MAX_CLIENTS = 10_000


@dataclass(slots=True)
class RateLimit:
    """per_minute: requests that a client may send in a minute, or at once after a pause.

    now: a clock. Clients are names: API keys, or addresses.
    """

    per_minute: int
    now: Callable[[], float] = time.monotonic
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def wait_s(self, client: str) -> float:
        """Counts a request; returns 0 if it may go on, else after how many seconds one may."""
        now = self.now()
        room, since = self._buckets.pop(client, (float(self.per_minute), now))
        room = min(float(self.per_minute), room + (now - since) * self.per_minute / 60.0)
        allowed = room >= 1.0
        self._buckets[client] = (room - 1.0 if allowed else room, now)
        if len(self._buckets) > _MAX_CLIENTS:  # the one that was silent longest is forgotten
            self._buckets.pop(next(iter(self._buckets)))
        return 0.0 if allowed else (1.0 - room) * 60.0 / self.per_minute
