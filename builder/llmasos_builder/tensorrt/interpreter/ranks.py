"""Interprets the engines of all ranks in step: the parts of a stage together, stage after stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmasos_builder.tensorrt.interpreter.collective import run_together
from llmasos_builder.tensorrt.interpreter.engine import InterpretedNetwork, Row
from llmasos_builder.tensorrt.interpreter.errors import InterpretationError
from llmasos_builder.tensorrt.interpreter.numbers import Array

_OUT = "_out"


class InterpretedRanks:
    """stages: for each stage the networks of its parts, in order; each has its own KV caches."""

    def __init__(self, stages: Sequence[Sequence[InterpretedNetwork]]) -> None:
        self._stages = stages

    def step(self, rows: Sequence[Row]) -> dict[str, Array]:
        """Does what `InterpretedNetwork.step` does; each part passes hidden states to its
        successor.

        Raises InterpretationError also if the parts of a stage have different outputs.
        """
        handed: list[dict[str, Array]] = [{} for _ in self._stages[0]]
        outputs: list[dict[str, Array]] = []
        for parts in self._stages:
            running = [part.running(rows, given) for part, given in zip(parts, handed, strict=True)]
            outputs = run_together(running)
            _check_equal(outputs)
            handed = [
                {name.removesuffix(_OUT): values for name, values in own.items()} for own in outputs
            ]
        return outputs[0]


def _check_equal(outputs: Sequence[dict[str, Array]]) -> None:
    """Checks that all parts of a stage have the same outputs."""
    for name, first in outputs[0].items():
        for part, own in enumerate(outputs):
            if not np.array_equal(first, own[name], equal_nan=True):
                raise InterpretationError(f"parts 0 and {part} give different {name}")
