"""When a server that died may be started again, and when it is given up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class RestartPolicy:
    """Exponential backoff with a limit of restarts within a time.

    max_restarts: within window_s; one more death is the end. first_delay_s: before the first
    restart of a window; each next one waits twice as long, up to max_delay_s. now: a clock.
    num_restarts: how many there were so far.
    """

    max_restarts: int = 5
    window_s: float = 600.0
    first_delay_s: float = 0.2
    max_delay_s: float = 30.0
    now: Callable[[], float] = time.monotonic
    num_restarts: int = 0
    _times: deque[float] = field(default_factory=deque[float])

    def delay_s(self) -> float | None:
        """Counts one death; returns how long to wait before the restart, or None to give up."""
        now = self.now()
        while self._times and now - self._times[0] > self.window_s:
            self._times.popleft()
        if len(self._times) >= self.max_restarts:
            return None
        delay_s = min(self.max_delay_s, self.first_delay_s * 2.0 ** len(self._times))
        self._times.append(now)
        self.num_restarts += 1
        return delay_s

    def limit(self) -> str:
        """The limit, as a message says it."""
        return f"{self.max_restarts} restarts within {self.window_s:g} s"
