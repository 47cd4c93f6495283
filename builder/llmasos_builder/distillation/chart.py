"""Draws the losses of a distillation."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from llmasos_builder.distillation.training import History


def draw_losses(history: History, path: Path) -> None:
    """Write a PNG: the loss of each step, and the held-out KL, in nats a token."""
    figure_class: Any = import_module("matplotlib.figure").Figure
    figure = figure_class(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(history.losses) + 1), history.losses, color="0.7", label="loss")
    steps, kls = zip(*history.held_out, strict=True)
    axes.plot(steps, kls, marker="o", markersize=3, label="held-out KL")
    axes.set_xlabel("step")
    axes.set_ylabel("nats a token")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
