"""Tensors of a checkpoint, read one at a time while a compiler reports how far it is."""

from __future__ import annotations

from collections.abc import Callable

from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import Weights
from llmasos_builder.graph import Array


class TensorReader:
    """Loads a tensor when it is called, so that memory need not hold all; each is a step.

    progress: told how many of num_steps are done, first that none is. The steps that are no
    tensors are reported by `step`.
    """

    def __init__(
        self, weights: Weights, progress: Callable[[int, int], None], *, num_steps: int
    ) -> None:
        self._weights = weights
        self._progress = progress
        self._num_steps = num_steps
        self._num_done = 0
        progress(0, num_steps)

    def __call__(self, name: str, _shape: tuple[int, ...]) -> Array:
        """As `load_tensor`; raises CheckpointError."""
        values = load_tensor(self._weights, name)
        self.step()
        return values

    def step(self) -> None:
        """One more is done."""
        self._num_done += 1
        self._progress(self._num_done, self._num_steps)
