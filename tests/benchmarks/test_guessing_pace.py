"""What the measure of guessing compares, and how it is put in a row."""

from __future__ import annotations

from pathlib import Path

from llmasos.sampling import SamplingParams
from llmasos_runtime.engine.engine import EngineOptions
from llmasos_runtime.load import load_engine

from benchmarks.speculation import Kind, Pace, asker, one_round, row

KIND = Kind(name="x", prompts=("a", "b"), temperature=0.5, max_tokens=9)


def test_each_prompt_is_answered_both_ways_and_rounds_take_turns() -> None:
    asked: list[tuple[str, bool | None, int | None]] = []

    def ask(prompt: str, params: SamplingParams) -> Pace:
        asked.append((prompt, params.speculate, params.seed))
        return Pace(num_tokens=10, time_s=1.0 if params.speculate else 2.0, num_drafts=4)

    plain, guessing = one_round(ask, KIND, 0)
    one_round(ask, KIND, 1)
    assert [(prompt, on) for prompt, on, _ in asked] == [
        *(("a", False), ("a", True), ("b", True), ("b", False)),
        *(("a", True), ("a", False), ("b", False), ("b", True)),
    ]
    assert len({seed for _, _, seed in asked}) == 4
    assert (plain.num_tokens, plain.time_s, guessing.time_s, guessing.num_drafts) == (20, 4, 2, 8)


def test_a_row_is_the_median_of_ratios_within_rounds() -> None:
    slow, fast = Pace(num_tokens=10, time_s=1.0), Pace(num_tokens=30, time_s=1.0, num_right=3)
    same = Pace(num_tokens=10, time_s=1.0, num_drafts=7)
    rounds = [(slow, fast), (slow, same), (slow, fast)]
    assert row(KIND, rounds) == ("x", "3.00", "1.00-3.00", "10", "6 of 7")


def test_an_answer_is_timed_and_its_guesses_counted(tiny_plan: Path) -> None:
    engine = load_engine(tiny_plan, EngineOptions(num_threads=1))
    pace = asker(engine)("Hello", SamplingParams(max_tokens=6, ignore_eos=True))
    engine.close()
    assert pace.num_tokens == 6
    assert pace.time_s > 0
