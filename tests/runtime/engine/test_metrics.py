"""One table says what is counted, and how it is shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path

from llmasos_runtime.engine.metrics import METRICS, EngineStats, markdown_table
from llmasos_runtime.engine.metrics_page import BEGIN, END

PAGE = Path(__file__).parents[3] / "docs" / "contract.md"
ZERO = EngineStats(**dict.fromkeys((field.name for field in fields(EngineStats)), 0))


def test_every_number_that_is_counted_is_shown() -> None:
    for field in fields(EngineStats):
        one = EngineStats(
            **{other.name: int(other.name == field.name) for other in fields(EngineStats)}
        )
        assert any(metric.value(one) != metric.value(ZERO) for metric in METRICS), field.name


def test_no_two_metrics_are_shown_under_one_name() -> None:
    shown = Counter((metric.family.name, metric.label_value) for metric in METRICS)
    assert max(shown.values()) == 1
    assert len({metric.family for metric in METRICS}) == len({m.family.name for m in METRICS})


def test_the_page_lists_the_metrics_of_the_table() -> None:
    shown = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert shown == markdown_table(), "python -m llmasos_runtime.engine.metrics_page"
