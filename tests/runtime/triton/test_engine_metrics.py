"""What the engine counts is on Triton's metrics page: gauges are set, counters added to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fake_backend import FakeBackend, FakeMetricFamily
from llmasos.errors import EngineStoppedError
from llmasos.outputs import FinishReason, Usage
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.sequences.request import Update
from llmasos_runtime.triton.engine_metrics import EngineMetrics
from llmasos_runtime.triton.request_metrics import RequestMetrics

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


def test_lengths_are_counters_named_like_a_histogram(metrics: EngineMetrics) -> None:
    for num_prompt_tokens, num_output_tokens in ((3, 60), (10, 2000)):
        usage = Usage(num_prompt_tokens=num_prompt_tokens, num_output_tokens=num_output_tokens)
        metrics.requests.begin("1")
        last = Update(request_id="1", usage=usage, finish_reason=FinishReason.STOP)
        metrics.requests.count([Update(request_id="1"), last])
    metrics.report(stats())
    shown = FakeMetricFamily.values
    for kind, buckets, total in (
        ("input", {"10": 2, "50": 2, "1000": 2, "+Inf": 2}, 13),
        ("output", {"100": 1, "500": 1, "1000": 1, "+Inf": 2}, 2060),
    ):
        name = f"nv_llm_{kind}_token_len"
        assert {most: shown[f"{name}_bucket {most}"] for most in buckets} == buckets
        assert shown[f"{name}_sum total_{kind}_tokens"] == total
        assert shown[f"{name}_count total_{kind}_tokens"] == 2
    assert "nv_llm_output_token_len_bucket 50" not in shown


def test_latencies_and_reasons_are_counted_of_each_request() -> None:
    FakeMetricFamily.values.clear()
    now = [10.0]
    requests = RequestMetrics(FakeBackend, {"model": "m"}, clock=lambda: now[0])

    def at(seconds: float, request_id: str, **fields: Any) -> None:
        now[0] = 10.0 + seconds
        requests.count([Update(request_id=request_id, **fields)])

    usage = Usage(num_prompt_tokens=3, num_output_tokens=5)
    for request_id in ("a", "b", "c"):
        requests.begin(request_id)
    at(0.03, "a", token_ids=(1,))
    at(0.04, "b", token_ids=(1,))
    at(0.43, "a", token_ids=(2,), finish_reason=FinishReason.LENGTH, usage=usage)
    at(0.5, "b", error=EngineStoppedError("gone"))
    at(0.6, "a", token_ids=(3,))
    requests.show()
    values = FakeMetricFamily.values
    assert values["nv_llmasos_time_to_first_token_seconds_count m"] == 2
    assert values["nv_llmasos_time_to_first_token_seconds_sum m"] == pytest.approx(0.07)
    assert values["nv_llmasos_time_to_first_token_seconds_bucket 0.05"] == 2
    assert values["nv_llmasos_time_per_output_token_seconds_sum m"] == pytest.approx(0.1)
    assert values["nv_llmasos_request_latency_seconds_sum m"] == pytest.approx(0.43)
    assert values["nv_llmasos_requests length"] == values["nv_llmasos_requests error"] == 1
    assert "nv_llmasos_requests stop" not in values
