"""Inputs of a network over packed sequences, and what is derived from them for all layers.

The tokens of several sequences lie one behind the other, without padding between them:

    packed     a0 a1 a2 b0 c0 c1
    padded     a0 a1 a2        packed_at   0 1 2     padded_at   0 1 2 3 6 7
               b0  .  .                    3 . .
               c0 c1  .                    4 5 .

Matrices, norms and activations run over packed tokens. Attention alone runs over padded places.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from llmasos.engine.engine_io import (
    INPUT_IDS,
    LENGTHS,
    PACKED_AT,
    PADDED_AT,
    POSITION_IDS,
    SELECTED,
    TOKEN_TYPE_IDS,
)
from llmasos.openvino_import import ops, ov

from llmasos_builder.openvino.attention import (
    MASKED,
    dimension,
    floats,
    integer,
    integers,
    parameter,
)


class PackedInputs:
    """See the module; only inputs that are used become the network's."""

    def __init__(self) -> None:
        self._used: dict[str, ov.Node] = {}
        self._rotations: dict[tuple[float, ...], tuple[ov.Node, ov.Node]] = {}
        self._masks: dict[tuple[bool, int | None], ov.Node] = {}

    def parameters(self) -> list[ov.Node]:
        """The inputs in use, by name."""
        return [self._used[name] for name in sorted(self._used)]

    def _input(self, name: str, rank: int) -> ov.Node:
        if name not in self._used:
            self._used[name] = parameter(name, rank, ov.Type.i64)
        return self._used[name]

    @property
    def input_ids(self) -> ov.Node:
        """[T]."""
        return self._input(INPUT_IDS, 1)

    @property
    def position_ids(self) -> ov.Node:
        """[T]: each token's place in its sequence."""
        return self._input(POSITION_IDS, 1)

    @property
    def token_type_ids(self) -> ov.Node:
        """[T]."""
        return self._input(TOKEN_TYPE_IDS, 1)

    @property
    def packed_at(self) -> ov.Node:
        """[B, L]."""
        return self._input(PACKED_AT, 2)

    @property
    def padded_at(self) -> ov.Node:
        """[T]."""
        return self._input(PADDED_AT, 1)

    @property
    def lengths(self) -> ov.Node:
        """[B]."""
        return self._input(LENGTHS, 1)

    @property
    def selected(self) -> ov.Node:
        """[N]."""
        return self._input(SELECTED, 1)

    @cached_property
    def places(self) -> ov.Node:
        """[L]: 0, 1, ..."""
        longest = ops.squeeze(dimension(self.packed_at, 1), integer(0))
        return ops.range(integer(0), longest, integer(1), "i64")

    @cached_property
    def present(self) -> ov.Node:
        """[B, L], bool: the places that a token has."""
        return ops.less(
            ops.unsqueeze(self.places, integer(0)), ops.unsqueeze(self.lengths, integer(1))
        )

    @cached_property
    def distances(self) -> ov.Node:
        """[L, L]: how many places a key (column) is behind a query (row)."""
        return ops.subtract(
            ops.unsqueeze(self.places, integer(0)), ops.unsqueeze(self.places, integer(1))
        )

    def mask(self, *, is_causal: bool, window: int | None) -> ov.Node:
        """[B, 1, 1 or L, L], added to scores. window: as in `AttentionScores`."""
        kind = (is_causal, window)
        if kind not in self._masks:
            self._masks[kind] = self._mask(*kind)
        return self._masks[kind]

    def _mask(self, is_causal: bool, window: int | None) -> ov.Node:
        visible = ops.unsqueeze(self.present, integers(1, 2))
        if is_causal:
            visible = ops.logical_and(visible, ops.less_equal(self.distances, integer(0)))
        if window is not None:
            near = (
                ops.greater(self.distances, integer(-window))
                if is_causal
                else ops.less_equal(ops.abs(self.distances), integer(window))
            )
            visible = ops.logical_and(visible, near)
        return ops.select(visible, floats(0.0), floats(MASKED))

    def padded(self, x: ov.Node) -> ov.Node:
        """[T, ...] -> [B, L, ...]."""
        return ops.gather(x, self.packed_at, integer(0))

    def rotation(self, frequencies: tuple[float, ...]) -> tuple[ov.Node, ov.Node]:
        """cos and sin [T, 1, 2 * frequencies]; the second half repeats the first."""
        if frequencies not in self._rotations:
            positions = ops.unsqueeze(ops.convert(self.position_ids, "f32"), integers(1, 2))
            angles = ops.multiply(positions, floats(np.array(frequencies)[None, None]))
            twice = ops.concat([angles, angles], -1)
            self._rotations[frequencies] = (ops.cos(twice), ops.sin(twice))
        return self._rotations[frequencies]
