"""Positions and KV cache of a stateful OpenVINO IR, in the form that OpenVINO's tools write.

The state of a layer grows by the tokens of each step. `paged_attention_transformation` finds
ReadValue -> Gather(beam_idx) -> Concat -> ScaledDotProductAttention, with the heads of a group
repeated by Broadcast, and replaces it by paged attention.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from llmasos.engine.engine_io import (
    ATTENTION_MASK,
    BEAM_IDX,
    INPUT_IDS,
    POSITION_IDS,
    CachePart,
    state_name,
)
from llmasos.openvino_import import op, ops, ov
from numpy.typing import NDArray

from llmasos_builder.openvino.weights import OpenVINOWeight

MASKED = -65504.0
"""Added to a score that must not count: finite in every precision, so that a row of them is no NaN.
"""


def integers(*values: int) -> ov.Node:
    """A constant vector."""
    return ops.constant(np.array(values, np.int64))


def integer(value: int) -> ov.Node:
    """A constant scalar."""
    return ops.constant(np.int64(value))


def floats(values: float | NDArray[np.float64]) -> ov.Node:
    """A constant in f32."""
    return ops.constant(np.asarray(values, np.float32))


class StatefulInputs:
    """The inputs of the standard IR, and nodes derived from them that all layers share.

    input_ids [B, S], attention_mask [B, T] (T: past and new tokens) and position_ids [B, S] in i64,
    beam_idx [B] in i32.
    """

    def __init__(self) -> None:
        self.input_ids = parameter(INPUT_IDS, 2, ov.Type.i64)
        self.attention_mask = parameter(ATTENTION_MASK, 2, ov.Type.i64)
        self.position_ids = parameter(POSITION_IDS, 2, ov.Type.i64)
        self.beam_idx = parameter(BEAM_IDX, 1, ov.Type.i32)
        self._rotations: dict[tuple[float, ...], tuple[ov.Node, ov.Node]] = {}
        self._biases: dict[int, ov.Node] = {}

    def parameters(self, *, has_cache: bool) -> list[ov.Node]:
        """beam_idx chooses rows of the cache, so a network without one has no such input."""
        tokens = [self.input_ids, self.attention_mask, self.position_ids]
        return [*tokens, self.beam_idx] if has_cache else tokens

    @cached_property
    def batch_size(self) -> ov.Node:
        """[1]."""
        return dimension(self.input_ids, 0)

    @cached_property
    def key_positions(self) -> ov.Node:
        """[B, T]: the position of every token, past and new, in its sequence."""
        return ops.subtract(ops.cumsum(self.attention_mask, integer(1)), integer(1))

    @cached_property
    def present(self) -> ov.Node:
        """[B, 1, 1, T], bool: true for tokens that are not padding."""
        return ops.unsqueeze(ops.convert(self.attention_mask, "boolean"), integers(1, 2))

    @cached_property
    def causal(self) -> ov.Node:
        """[1, 1, S, T], bool: a token sees itself and earlier tokens."""
        total = dimension(self.attention_mask, 1)
        new = dimension(self.input_ids, 1)
        columns = ops.unsqueeze(_range(total), integer(0))
        rows = ops.unsqueeze(ops.add(_range(new), ops.subtract(total, new)), integer(1))
        return ops.unsqueeze(ops.less_equal(columns, rows), integers(0, 1))

    def distance_bias(self, table: OpenVINOWeight) -> ov.Node:
        """[B, H, S, T]: the row of each key's distance behind its query, one for all layers."""
        if id(table) not in self._biases:
            distances = ops.subtract(
                ops.unsqueeze(self.key_positions, integer(1)),
                ops.unsqueeze(self.position_ids, integer(2)),
            )
            rows = distance_rows(table, distances)
            self._biases[id(table)] = ops.transpose(rows, integers(0, 3, 1, 2))
        return self._biases[id(table)]

    def rotation(self, frequencies: tuple[float, ...]) -> tuple[ov.Node, ov.Node]:
        """cos and sin [B, 1, S, 2 * frequencies]; the second half repeats the first."""
        if frequencies not in self._rotations:
            positions = ops.unsqueeze(ops.convert(self.position_ids, "f32"), integer(2))
            angles = ops.multiply(positions, floats(np.array(frequencies)[None, None]))
            twice = ops.concat([angles, angles], -1)
            cos, sin = (ops.unsqueeze(turn(twice), integer(1)) for turn in (ops.cos, ops.sin))
            self._rotations[frequencies] = (cos, sin)
        return self._rotations[frequencies]


class Extended(NamedTuple):
    """Keys or values of a layer [B, H, tokens, D]: of earlier steps, of this one, and both."""

    past: ov.Node
    new: ov.Node
    total: ov.Node


class StatefulCache:
    """Keys and values of earlier steps, in one pair of variables for each layer."""

    def __init__(self, inputs: StatefulInputs) -> None:
        self._inputs = inputs
        self.sinks: list[ov.Node] = []
        self.variables: list[op.util.Variable] = []

    def extend(self, key: ov.Node, value: ov.Node) -> tuple[Extended, Extended]:
        """Appends keys and values [B, H, S, D] to the cache of the next layer."""
        layer = len(self.sinks) // 2
        return self._extend(layer, "key", key), self._extend(layer, "value", value)

    def _extend(self, layer: int, part: CachePart, new: ov.Node) -> Extended:
        num_heads, head_size = width(new, 1), width(new, 3)
        info = op.util.VariableInfo()
        info.data_shape = ov.PartialShape([-1, num_heads, -1, head_size])
        info.data_type = ov.Type.f32
        info.variable_id = state_name(part, layer)
        variable = op.util.Variable(info)
        shape = ops.concat([self._inputs.batch_size, integers(num_heads, 0, head_size)], 0)
        past = op.read_value(ops.broadcast(floats(0.0), shape), variable)
        past = ops.gather(past, self._inputs.beam_idx, integer(0))
        total = ops.concat([past, new], 2)
        self.sinks.append(op.assign(total, variable))
        self.variables.append(variable)
        return Extended(past, new, total)


def distance_rows(table: OpenVINOWeight, distances: ov.Node) -> ov.Node:
    """[..., H]: the row of each distance of a key behind its query; see `Graph.attention`."""
    reach = table.num_rows // 2
    near = ops.clamp(ops.convert(distances, "f32"), -reach, reach)
    return table.rows(ops.convert(ops.add(near, floats(reach)), "i64"))


def repeat_heads(x: ov.Node, times: int) -> ov.Node:
    """[B, H, T, D] -> [B, H * times, T, D], each head beside its copies."""
    if times == 1:
        return x
    num_heads, head_size = width(x, 1), width(x, 3)
    copies = ops.broadcast(
        ops.unsqueeze(x, integer(2)), integers(1, 1, times, 1, 1), broadcast_spec="BIDIRECTIONAL"
    )
    return ops.reshape(copies, integers(0, num_heads * times, -1, head_size), special_zero=True)


def width(x: ov.Node, axis: int) -> int:
    """The size of an axis that is known at definition time."""
    return int(output_of(x).get_partial_shape()[axis].get_length())


def dimension(x: ov.Node, axis: int) -> ov.Node:
    """[1]: the size of an axis that is known at run time."""
    return ops.gather(ops.shape_of(x, "i64"), integers(axis), integer(0))


def output_of(x: ov.Node) -> ov.Output:
    """The output of a node: OpenVINO's functions accept and return both forms."""
    return x if isinstance(x, ov.Output) else x.output(0)


def parameter(name: str, rank: int, kind: ov.Type) -> ov.Node:
    """An input with axes of any size."""
    made = ops.parameter([-1] * rank, kind, name=name)
    made.output(0).get_tensor().set_names({name})
    return made


def _range(stop: ov.Node) -> ov.Node:
    return ops.range(integer(0), ops.squeeze(stop, integer(0)), integer(1), "i64")
