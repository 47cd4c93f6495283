"""Shows the numbers of an engine of whole texts on Triton's metrics page."""

from __future__ import annotations

from typing import Any

from llmasos_runtime.encoding.text_engine import TextEngineStats
from llmasos_runtime.engine.metrics import GENERAL
from llmasos_runtime.triton.backend import Backend
from llmasos_runtime.triton.shown_metrics import Counter, Gauge

MODEL = "engine"
_NAME = "nv_llmasos_texts"


class EncodingMetrics:
    """Texts that wait, and texts, tokens and steps so far.

    Steps stand where a decoder's do, so that whoever watches a server reads one name.
    """

    def __init__(self, backend: Backend, *, model: str = MODEL, version: str = "1") -> None:
        kinds = backend.MetricFamily
        labels = {"model": model, "version": version}
        said = "Texts that an encoder has computed, and their tokens"
        computed = kinds(name=f"{_NAME}_computed", description=said, kind=kinds.COUNTER)
        waiting = kinds(name=f"{_NAME}_waiting", description="Texts that wait", kind=kinds.GAUGE)
        general = kinds(name=GENERAL.name, description=GENERAL.help, kind=kinds.GAUGE)
        self._families: list[Any] = [computed, waiting, general]  # Triton removes what nobody holds
        self._texts = Counter(computed.Metric(labels={**labels, "kind": "texts"}))
        self._tokens = Counter(computed.Metric(labels={**labels, "kind": "tokens"}))
        self._waiting = Gauge(waiting.Metric(labels=labels))
        self._steps = Gauge(general.Metric(labels={**labels, GENERAL.label: "iteration_counter"}))

    def report(self, stats: TextEngineStats) -> None:
        """Shows these numbers."""
        self._waiting.show(stats.num_waiting)
        self._texts.show(stats.num_texts)
        self._tokens.show(stats.num_tokens)
        self._steps.show(stats.num_steps)
