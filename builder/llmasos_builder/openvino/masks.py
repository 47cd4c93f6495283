"""Masks of a stateful OpenVINO IR, in the forms that convert to paged attention.

`paged_attention_transformation` (state_management_pattern.cpp in OpenVINO's sources) drops an
attention's mask, since paged attention is causal by itself, except for two forms:

- from Select(hidden, masked, Reshape(Reshape(slopes * positions))), as in Bloom, it takes the
slopes: the first factor;
- from Slice(Select(Broadcast(four BitwiseAnd around Greater(key, query + constant)))), as in
gpt-oss, it takes the negated constant as the window.

A mask in any other form would be silently lost.
"""

from __future__ import annotations

import numpy as np
from llmasos.openvino_import import ops, ov

from llmasos_builder.graph.graph import AttentionScores
from llmasos_builder.openvino.attention import MASKED, StatefulInputs, floats, integer, integers

_TO_THE_END = (1 << 31) - 1
_Kind = tuple[tuple[float, ...] | None, int | None]


class StatefulMasks:
    """Masks added to scores [B, H, S, T]; layers with the same mask share one."""

    def __init__(self, inputs: StatefulInputs) -> None:
        self._inputs = inputs
        self._masks: dict[_Kind, ov.Node] = {}

    def of(self, scores: AttentionScores) -> ov.Node:
        kind = (scores.slopes, scores.window)
        if kind not in self._masks:
            self._masks[kind] = self._make(*kind)
        return self._masks[kind]

    def _make(self, slopes: tuple[float, ...] | None, window: int | None) -> ov.Node:
        assert slopes is None or window is None, "one form takes one of them"
        if window is not None:
            return self._within(window)
        if slopes is not None:
            return self._sloping(slopes)
        visible = ops.logical_and(self._inputs.causal, self._inputs.present)
        return ops.select(visible, floats(0.0), floats(MASKED))

    def _sloping(self, slopes: tuple[float, ...]) -> ov.Node:
        """ALiBi may use the key position instead of the distance: they differ by a per-row
        constant, which softmax cancels.
        """
        visible = ops.logical_and(self._inputs.causal, self._inputs.present)
        keys = ops.unsqueeze(ops.convert(self._inputs.key_positions, "f32"), integer(1))
        bias = ops.multiply(floats(np.array(slopes)[:, None]), keys)
        bias = ops.reshape(bias, integers(0, len(slopes), -1), special_zero=True)
        bias = ops.reshape(bias, integers(0, len(slopes), 1, -1), special_zero=True)
        return ops.select(ops.logical_not(visible), floats(MASKED), bias)

    def _within(self, window: int) -> ov.Node:
        """Two of the ands, with a constant, exist only for the form; the slice, which OpenVINO
        2026.4 does not need, is for other versions that load the same file.
        """
        keys = ops.unsqueeze(self._inputs.key_positions, integers(1, 2))
        queries = ops.unsqueeze(self._inputs.position_ids, integers(1, 3))
        near = ops.greater(keys, ops.add(queries, integer(-window)))
        always = ops.constant(np.array(True))
        visible = ops.bitwise_and(ops.bitwise_and(always, near), self._inputs.causal)
        visible = ops.bitwise_and(ops.bitwise_and(always, visible), self._inputs.present)
        visible = ops.broadcast(visible, ops.shape_of(visible, "i64"))
        mask = ops.select(visible, floats(0.0), floats(MASKED))
        ends = (integers(0), integers(_TO_THE_END), integers(1))
        return ops.slice(mask, *ends, integers(3))
