"""Draws what each row of a report costs: perplexity over memory, and over speed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from llmasos.errors import PlanError

from llmasos_app.report.choice import pareto_front
from llmasos_app.report.measurement import Measurement


def check_matplotlib() -> None:
    """Raises PlanError if charts cannot be drawn, before anything is measured."""
    if find_spec("matplotlib") is None:
        raise PlanError(
            "matplotlib, which draws the chart, is not installed",
            hint='pip install "llmasos[report]"',
        )


def draw(rows: Sequence[Measurement], chosen: Measurement | None) -> bytes:
    """Returns a PNG of two charts.

    Left: perplexity over memory, with a line through the rows that no other one beats. Right:
    perplexity over new tokens a second at one stream.
    """
    figure_class: Any = import_module("matplotlib.figure").Figure
    figure = figure_class(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    front = pareto_front(rows)
    left.plot(
        [_megabytes(row) for row in front],
        [row.perplexity for row in front],
        color="0.75",
        linewidth=1,
        zorder=1,
    )
    _scatter(left, rows, [_megabytes(row) for row in rows], chosen)
    _scatter(right, rows, [row.speed.tokens_per_s[0] for row in rows], chosen)
    left.set_xlabel("memory, MB")
    left.set_ylabel("perplexity")
    right.set_xlabel("new tokens a second, 1 stream")
    for axes in (left, right):
        axes.margins(0.2)
        axes.grid(color="0.92", linewidth=0.5)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()


def _scatter(
    axes: Any, rows: Sequence[Measurement], places: Sequence[float], chosen: Measurement | None
) -> None:
    """Draws a point for each row, with its name on the side where the chart has room."""
    middle = (min(places) + max(places)) / 2
    for row, x in zip(rows, places, strict=True):
        is_right = x > middle
        axes.scatter(
            [x], [row.perplexity], color="tab:orange" if row is chosen else "tab:blue", zorder=2
        )
        axes.annotate(
            row.name,
            (x, row.perplexity),
            xytext=(-6 if is_right else 6, 5),
            ha="right" if is_right else "left",
            textcoords="offset points",
            fontsize=8,
        )


def _megabytes(row: Measurement) -> float:
    return row.speed.memory_bytes / 1e6
