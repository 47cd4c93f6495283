"""Shows the engine's metrics on Triton's metrics page."""

from __future__ import annotations

from typing import Any

from llmasos_runtime.engine.metrics import METRICS, EngineStats, Metric
from llmasos_runtime.triton.backend import Backend


class EngineMetrics:
    """Shows each metric of the table; Triton gets a message only for one that has changed."""

    def __init__(self, backend: Backend, *, model: str = "engine", version: str = "1") -> None:
        self._families: dict[str, Any] = {}  # Triton removes one that nothing refers to
        labels = {"model": model, "version": version}
        self._shown = [(metric, self._add(backend, metric, labels)) for metric in METRICS]

    def report(self, stats: EngineStats) -> None:
        """Shows these numbers; a counter never falls."""
        for metric, shown in self._shown:
            shown.show(metric.value(stats))

    def _add(self, backend: Backend, metric: Metric, labels: dict[str, str]) -> _Gauge | _Counter:
        family = metric.family
        is_counter = family.kind == "counter"
        if family.name not in self._families:
            kinds = backend.MetricFamily
            kind = kinds.COUNTER if is_counter else kinds.GAUGE
            self._families[family.name] = kinds(
                name=family.name, description=family.help, kind=kind
            )
        made = self._families[family.name].Metric(
            labels={**labels, family.label: metric.label_value}
        )
        return _Counter(made) if is_counter else _Gauge(made)


class _Gauge:
    """Triton's metric and the value that it shows."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self._last: float | None = None

    def show(self, value: float) -> None:
        if value != self._last:
            self._made.set(value)
            self._last = value


class _Counter:
    """Triton's metric and the count that it has reached."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self._last = 0.0

    def show(self, value: float) -> None:
        if value > self._last:
            self._made.increment(value - self._last)
            self._last = value
