"""Where tokens part, counted."""

from __future__ import annotations

from pathlib import Path

from llmasos_runtime.engine.engine import EngineOptions
from llmasos_runtime.load import load_engine

from benchmarks.divergence import continuations, first_difference, row


def test_a_row_counts_what_parts_and_where() -> None:
    reference = [[1, 2, 3], [1, 2, 3], [1, 2, 3]]
    alone = [[1, 2, 3], [1, 9, 3], [1, 2, 9]]
    together = [[1, 2, 3], [1, 2, 3], [1, 2, 9]]
    assert row("x", reference, alone, together) == ("x", "2 of 3", "1.5", "1 of 3")
    assert row("x", reference, reference, reference) == ("x", "0 of 3", "-", "0 of 3")
    assert first_difference([1, 2], [1, 2]) is None


def test_an_f32_engine_continues_alike_alone_and_together(tiny_plan: Path) -> None:
    engine = load_engine(tiny_plan, EngineOptions(num_threads=1))
    prompts = [(1, 2, 3), (4, 5), (6, 7, 8, 9)]
    together = continuations(engine, prompts, 10)
    assert [continuations(engine, [prompt], 10)[0] for prompt in prompts] == together
    engine.close()
