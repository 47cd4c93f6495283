"""The engines of all ranks, interpreted in step: parts of a stage together, stage after stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmasos_builder.tensorrt.interpreter.collective import run_together
from llmasos_builder.tensorrt.interpreter.engine import InterpretedNetwork, Row
from llmasos_builder.tensorrt.interpreter.errors import InterpretationError
from llmasos_builder.tensorrt.interpreter.numbers import Array

_OUT = "_out"


class InterpretedRanks:
    """stages: of each stage the networks of its parts, in order; each has its own KV caches."""

    def __init__(self, stages: Sequence[Sequence[InterpretedNetwork]]) -> None:
        self._stages = stages

    def step(self, rows: Sequence[Row]) -> dict[str, Array]:
        """As `InterpretedNetwork.step`; hidden states pass from each part of a stage to its like.

        Raises InterpretationError too where the parts of a stage differ in what they give.
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
    """What leaves the parts of a stage was computed by each from the same numbers."""
    for name, first in outputs[0].items():
        for part, own in enumerate(outputs):
            if not np.array_equal(first, own[name], equal_nan=True):
                raise InterpretationError(f"parts 0 and {part} give different {name}")
