from __future__ import annotations

import pytest

from benchmarks.metrics import (
    Percentiles,
    Spread,
    inter_token_latencies_s,
    output_tokens_per_s,
    percentile,
    shared_prefix_share,
    times_to_first_token_s,
)

# Two streams submitted together at 0: one begins after 0.5 s, the other after 1 s.
TIMES_S = [[0.5, 0.6, 0.8], [1.0, 1.5, 2.0]]


def test_throughput_counts_the_prefill_and_waits_for_the_last_stream() -> None:
    assert output_tokens_per_s(TIMES_S) == pytest.approx(6 / 2.0)


def test_the_time_to_first_token_is_measured_from_submission() -> None:
    assert times_to_first_token_s(TIMES_S) == [0.5, 1.0]


def test_latencies_are_gaps_within_a_stream_and_never_across_streams() -> None:
    assert inter_token_latencies_s(TIMES_S) == pytest.approx([0.1, 0.2, 0.5, 0.5])


def test_tokens_that_came_together_have_a_gap_of_nothing() -> None:
    assert inter_token_latencies_s([[1.0, 1.0, 1.5]]) == [0.0, 0.5]


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 2.5), (95, 3.85), (100, 4.0)])
def test_a_percentile_lies_between_its_neighbours(percent: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == pytest.approx(expected)


def test_percentiles_of_one_value_are_that_value() -> None:
    assert Percentiles.of([7.0]) == Percentiles(p50=7.0, p95=7.0)


def test_a_spread_is_the_median_with_the_ends() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(median=3.0, low=1.0, high=10.0)


@pytest.mark.parametrize(
    ("ratios", "level"), [([0.98, 1.02], True), ([1.01, 1.2], False), ([0.8, 0.99], False)]
)
def test_a_ratio_is_level_when_its_range_holds_one(ratios: list[float], level: bool) -> None:
    assert Spread.of(ratios).holds_one is level


def test_tokens_are_the_same_up_to_the_first_difference() -> None:
    mine = [[1, 2, 3, 4], [5, 6, 7, 8]]
    theirs = [[1, 2, 9, 4], [5, 6, 7, 8]]
    assert shared_prefix_share(mine, theirs) == pytest.approx((2 / 4 + 4 / 4) / 2)
