"""The classic engine's gauges on Triton's metrics page, and what guessing did as counters."""

from __future__ import annotations

from typing import Any, Protocol

from llmasos_runtime.triton.backend import Backend

_Families = dict[str, tuple[str, str, tuple[str, ...]]]
# name -> (description, label, the label's values in the order in which they are reported)
_FAMILIES: _Families = {
    "nv_trt_llm_request_metrics": (
        "Requests in the engine",
        "request_type",
        ("active", "scheduled", "waiting"),
    ),
    "nv_trt_llm_kv_cache_block_metrics": (
        "Blocks of the KV cache",
        "kv_cache_block_type",
        ("max", "free", "used", "reused"),
    ),
    "nv_trt_llm_general_metrics": (
        "The engine's steps, and the requests that they had to put off",
        "general_type",
        ("iteration_counter", "preemption_counter"),
    ),
}
_COUNTERS: _Families = {
    "nv_llmasos_speculation_tokens": (
        "Tokens that were guessed and computed, and those of them that were right",
        "speculation_type",
        ("drafted", "accepted"),
    ),
}


class Stats(Protocol):
    """What an engine says of itself."""

    @property
    def num_running(self) -> int: ...
    @property
    def num_waiting(self) -> int: ...
    @property
    def num_blocks(self) -> int: ...
    @property
    def num_free_blocks(self) -> int: ...
    @property
    def num_reused_blocks(self) -> int: ...
    @property
    def num_preemptions(self) -> int: ...
    @property
    def num_steps(self) -> int: ...
    @property
    def num_draft_tokens(self) -> int: ...
    @property
    def num_accepted_tokens(self) -> int: ...


class EngineMetrics:
    """Numbers that are sent to Triton when they change, since each is a message to it."""

    def __init__(self, backend: Backend, *, model: str = "engine", version: str = "1") -> None:
        self._families: list[Any] = []  # Triton removes one that nothing refers to
        labels = {"model": model, "version": version}
        kinds = backend.MetricFamily
        self._gauges = self._metrics(backend, _FAMILIES, kinds.GAUGE, labels)
        self._counters = self._metrics(backend, _COUNTERS, kinds.COUNTER, labels)
        self._last: list[int | None] = [None] * len(self._gauges)
        self._counted = [0] * len(self._counters)

    def report(self, stats: Stats) -> None:
        """Show these numbers; what is counted never falls."""
        for index, value in enumerate(_gauges(stats)):
            if value != self._last[index]:
                self._gauges[index].set(value)
                self._last[index] = value
        for index, count in enumerate((stats.num_draft_tokens, stats.num_accepted_tokens)):
            if count > self._counted[index]:
                self._counters[index].increment(count - self._counted[index])
                self._counted[index] = count

    def _metrics(
        self, backend: Backend, families: _Families, kind: object, labels: dict[str, str]
    ) -> list[Any]:
        """A metric for each value of each family's label."""
        metrics: list[Any] = []
        for name, (description, label, values) in families.items():
            family = backend.MetricFamily(name=name, description=description, kind=kind)
            self._families.append(family)
            metrics += [family.Metric(labels={**labels, label: value}) for value in values]
        return metrics


def _gauges(stats: Stats) -> tuple[int, ...]:
    return (
        stats.num_running + stats.num_waiting,
        stats.num_running,
        stats.num_waiting,
        stats.num_blocks,
        stats.num_free_blocks,
        stats.num_blocks - stats.num_free_blocks,
        stats.num_reused_blocks,
        stats.num_steps,
        stats.num_preemptions,
    )
