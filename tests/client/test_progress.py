"""Estimates of the time that is left."""

from __future__ import annotations

from llmasos.progress import TimeLeft, as_time


def test_the_time_left_is_what_is_left_at_the_pace_so_far() -> None:
    assert TimeLeft(0, 100.0).seconds(25, 100, 110.0) == 30.0


def test_work_of_an_earlier_run_counts_for_no_pace() -> None:
    assert TimeLeft(50, 100.0).seconds(75, 100, 110.0) == 10.0


def test_nothing_is_said_before_enough_was_seen() -> None:
    begun = TimeLeft(0, 0.0)
    assert begun.seconds(1, 1000, 2.0) is None
    assert begun.seconds(1, 1000, 40.0) == 40.0 * 999
    assert begun.seconds(0, 1000, 99.0) is None


def test_long_times_are_said_in_minutes() -> None:
    assert [as_time(t) for t in (None, 12.4, 150.0)] == ["", "12 s left", "2 min left"]
