"""What the benchmark of stream intervals reports."""

from __future__ import annotations

from benchmarks.intervals import IN_PROCESS, one_round, row


def test_a_ratio_is_to_what_ran_in_process_in_the_same_round() -> None:
    rounds = [{IN_PROCESS: 1.0, "two": 2.0}, {IN_PROCESS: 3.0, "two": 4.0}]
    assert row(IN_PROCESS, rounds, 120) == "80 | 1.00 | 1.00-1.00"
    assert row("two", rounds, 120) == "45 | 0.62 | 0.50-0.75"


def test_a_round_runs_each_once_with_the_same_prompts() -> None:
    seen: list[tuple[str, object]] = []
    runs = {name: lambda prompts, name=name: seen.append((name, prompts)) for name in ("a", "b")}
    times = one_round(runs, [])
    assert seen == [("a", []), ("b", [])]
    assert set(times) == {"a", "b"}
