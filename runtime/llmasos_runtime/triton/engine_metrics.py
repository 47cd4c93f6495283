"""Shows the engine's metrics on Triton's metrics page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmasos_runtime.engine.metrics import METRICS, EngineStats, Metric
from llmasos_runtime.triton.backend import Backend
from llmasos_runtime.triton.request_metrics import RequestMetrics
from llmasos_runtime.triton.shown_metrics import Counter, Gauge

MODEL = "tensorrt_llm"
"""The label that what reads the classic metrics looks for, such as endpoint pickers."""


class EngineMetrics:
    """Shows each metric of the table; Triton gets a message only for one that has changed.

    num_restarts: of the server, before this engine was loaded. requests: what is
    counted of single requests; the next report shows it.
    """

    def __init__(
        self, backend: Backend, *, model: str = MODEL, version: str = "1", num_restarts: int = 0
    ) -> None:
        self._num_restarts = num_restarts
        self._families: dict[str, Any] = {}  # Triton removes one that nothing refers to
        labels = {"model": model, "version": version}
        self._shown = [(metric, self._add(backend, metric, labels)) for metric in METRICS]
        self.requests = RequestMetrics(backend, labels)

    def report(self, stats: EngineStats) -> None:
        """Shows these numbers; a counter never falls."""
        stats = replace(stats, num_restarts=self._num_restarts)
        for metric, shown in self._shown:
            shown.show(metric.value(stats))
        self.requests.show()

    def _add(self, backend: Backend, metric: Metric, labels: dict[str, str]) -> Gauge | Counter:
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
        return Counter(made) if is_counter else Gauge(made)
