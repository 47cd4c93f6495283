"""Metrics as Triton shows them: gauges, counters, and histograms made of counters."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from llmasos_runtime.triton.backend import Backend


class Histogram:
    """A histogram as counters that are named like the parts of one.

    Triton 2.51 gives Python models no histograms. `add` may be called from any thread; `show`
    brings what was added onto the page.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        description: str,
        *,
        buckets: Sequence[float],
        labels: Mapping[str, str],
    ) -> None:
        """buckets: upper bounds, ascending; infinity is added."""
        kinds = backend.MetricFamily
        bucket, total, count = self._families = tuple(
            kinds(name=f"{name}_{part}", description=description, kind=kinds.COUNTER)
            for part in ("bucket", "sum", "count")
        )
        self._adding = threading.Lock()
        self._at_most = dict.fromkeys((*buckets, math.inf), 0)
        self._sum = 0.0
        self._buckets = {
            most: Counter(bucket.Metric(labels={**labels, "le": _limit(most)}))
            for most in self._at_most
        }
        self._total, self._count = (Counter(f.Metric(labels=labels)) for f in (total, count))

    def add(self, number: float) -> None:
        with self._adding:
            self._sum += number
            for most in self._at_most:
                self._at_most[most] += number <= most

    def show(self) -> None:
        for most, shown in self._buckets.items():
            shown.show(self._at_most[most])
        self._total.show(self._sum)
        self._count.show(self._at_most[math.inf])


def _limit(most: float) -> str:
    return "+Inf" if most == math.inf else f"{most:g}"


class Gauge:
    """Triton's metric and the value that it shows."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self._last: float | None = None

    def show(self, value: float) -> None:
        if value != self._last:
            self._made.set(value)
            self._last = value


class Counter:
    """Triton's metric and the count that it has reached."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self._last = 0.0

    def show(self, value: float) -> None:
        if value > self._last:
            self._made.increment(value - self._last)
            self._last = value
