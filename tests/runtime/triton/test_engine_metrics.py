"""What the engine counts is on Triton's metrics page: gauges are set, counters added to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_backend import FakeBackend, FakeMetricFamily
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.triton.engine_metrics import EngineMetrics

SPECULATION = "nv_llmasos_speculation_tokens"


def stats(**changed: int) -> EngineStats:
    numbers = dict.fromkeys(EngineStats.__dataclass_fields__, 0)
    return EngineStats(**(numbers | changed))


@pytest.fixture
def metrics() -> Iterator[EngineMetrics]:
    FakeMetricFamily.values.clear()
    yield EngineMetrics(FakeBackend)
    FakeMetricFamily.values.clear()


def test_guessed_and_right_tokens_are_counters_that_grow_with_the_engines(
    metrics: EngineMetrics,
) -> None:
    for drafted, accepted in ((5, 2), (5, 2), (12, 9)):
        metrics.report(stats(num_draft_tokens=drafted, num_accepted_tokens=accepted))
        assert FakeMetricFamily.values[f"{SPECULATION} drafted"] == drafted
        assert FakeMetricFamily.values[f"{SPECULATION} accepted"] == accepted


def test_a_gauge_falls_again(metrics: EngineMetrics) -> None:
    for running in (3, 0):
        metrics.report(stats(num_running=running))
        assert FakeMetricFamily.values["nv_trt_llm_request_metrics scheduled"] == running


def test_a_counter_never_falls(metrics: EngineMetrics) -> None:
    for drafted in (5, 3, 6):
        metrics.report(stats(num_draft_tokens=drafted))
    assert FakeMetricFamily.values[f"{SPECULATION} drafted"] == 6
