"""Masks: the keys that a token sees in its slot, and ALiBi's biases."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmasos_builder.graph import AttentionScores
from llmasos_builder.tensorrt.inputs import Inputs
from llmasos_builder.tensorrt.layers import Layers
from llmasos_builder.tensorrt.options import NetworkOptions

_MASKED = -60000.0  # finite in fp16, and far below what any key can lose
_Kind = tuple[tuple[float, ...] | None, int | None]


class Masks:
    """Masks of attention [B, 1 or H, S, max_seq_len]; layers with the same mask share one."""

    def __init__(self, layers: Layers, inputs: Inputs, options: NetworkOptions) -> None:
        self._layers = layers
        self._inputs = inputs
        self._columns = np.arange(options.max_seq_len).reshape(1, 1, 1, -1)
        self._masks: dict[_Kind, Any] = {}

    def of(self, scores: AttentionScores) -> Any:
        """Returns a bool mask of visible keys; with slopes, biases in the network's type."""
        kind = (scores.slopes, scores.window)
        if kind == (None, None):
            return self._inputs.visible
        if kind not in self._masks:
            mask = self._inputs.visible if scores.window is None else self._near(scores.window)
            self._masks[kind] = mask if scores.slopes is None else self._bias(mask, scores.slopes)
        return self._masks[kind]

    def _near(self, window: int) -> Any:
        """Key j is visible to a token at position p if p - window < j <= p."""
        constants = self._layers.constants
        ends = constants.int32(self._columns + window)
        near = self._layers.less(self._positions(), ends)
        return self._layers.both(self._inputs.visible, near)

    def _bias(self, visible: Any, slopes: tuple[float, ...]) -> Any:
        layers, constants = self._layers, self._layers.constants
        distance = layers.subtract(constants.int32(self._columns), self._positions())
        slope = constants.float32(np.array(slopes).reshape(1, -1, 1, 1))
        bias = layers.multiply(layers.cast(distance, layers.library.float32), slope)
        bias = layers.cast(bias, constants.dtype)
        return layers.select(visible, bias, constants.scalar(_MASKED, rank=4))

    def _positions(self) -> Any:
        return self._layers.unsqueeze(self._inputs.position_ids, 1, 3)
