"""The classic engine's gauges, on Triton's metrics page."""

from __future__ import annotations

from typing import Any, Protocol

from llmasos_runtime.triton.backend import Backend

# name -> (description, label, the label's values in the order of `_values`)
_FAMILIES = {
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


class EngineMetrics:
    """Gauges that are sent to Triton when they change, since each is a message to it."""

    def __init__(self, backend: Backend, *, model: str = "engine", version: str = "1") -> None:
        # Triton removes a family that nothing refers to.
        self._families: list[Any] = []
        self._gauges: list[Any] = []
        for name, (description, label, values) in _FAMILIES.items():
            family = backend.MetricFamily(
                name=name, description=description, kind=backend.MetricFamily.GAUGE
            )
            self._families.append(family)
            for value in values:
                labels = {"model": model, "version": version, label: value}
                self._gauges.append(family.Metric(labels=labels))
        self._last: list[int | None] = [None] * len(self._gauges)

    def report(self, stats: Stats) -> None:
        """Show these numbers."""
        for index, value in enumerate(_values(stats)):
            if value != self._last[index]:
                self._gauges[index].set(value)
                self._last[index] = value


def _values(stats: Stats) -> tuple[int, ...]:
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
