"""Weights as OpenVINO constants that stay as small in memory as in the file.

The CPU plugin keeps Constant(i8) -> Convert -> Multiply(scale) -> MatMul as one compressed
operation, for int4 with groups as an axis of their own that a Reshape ends before the MatMul,
and Constant(bf16) -> Convert -> MatMul if the Convert is marked as decompression.
A lookup takes its rows from the constant and converts only those, so that a tied embedding
and head share one constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from llmasos.engine.plan import Precision
from llmasos.engine.weight_format import FORMATS, WeightFormat
from llmasos.openvino_import import ops, ov
from numpy.typing import NDArray
from openvino._offline_transformations import compress_model_transformation

from llmasos_builder.graph.graph import Array
from llmasos_builder.graph.quantizer import CPU_METHODS, QuantizedRows, quantize_rows
from llmasos_builder.graph.rounding import to_bf16_bits


@dataclass(frozen=True, kw_only=True)
class OpenVINOWeight:
    """Values of a kind and their scales, which become constants of the network at their first use.

    values: int8 [out, in] with scales [out, 1]; int4, as int8, [out, groups, group] with scales
    [out, groups, 1]; bits of bf16; f32 of any shape.
    """

    name: str
    kind: ov.Type
    values: NDArray[Any]
    scales: NDArray[np.float32] | None = None

    @property
    def num_rows(self) -> int:
        return len(self.values)

    @property
    def num_columns(self) -> int:
        return math.prod(self.values.shape[1:])

    @cached_property
    def _constant(self) -> ov.Node:
        if self.kind == ov.Type.i4:
            return _named(_int4_constant(self.values), self.name)
        if self.kind == ov.Type.bf16:
            tensor = ov.Tensor(self.values, ov.Shape(list(self.values.shape)), ov.Type.bf16)
            return _named(ov.op.Constant(tensor, shared_memory=False), self.name)
        return _named(ops.constant(self.values, self.kind), self.name)

    @cached_property
    def _scales(self) -> ov.Node | None:
        if self.scales is None:
            return None
        return _named(ops.constant(self.scales), f"{self.name}/scale")

    def dense(self) -> ov.Node:
        """The whole weight in f32."""
        if self.kind == ov.Type.f32:
            return self._constant
        if self._scales is None:
            return _decompressed(self._constant)
        values = ops.multiply(ops.convert(self._constant, "f32"), self._scales)
        if self.kind != ov.Type.i4:
            return values
        out, groups, group = self.values.shape
        return ops.reshape(values, np.array([out, groups * group]), False)

    def rows(self, indices: ov.Node) -> ov.Node:
        """Rows in f32: [*indices, in]; not for int4."""
        assert self.kind != ov.Type.i4
        axis = ops.constant(np.int64(0))
        values = ops.gather(self._constant, indices, axis)
        if self.kind != ov.Type.f32:
            values = ops.convert(values, "f32")
        if self._scales is None:
            return values
        return ops.multiply(values, ops.gather(self._scales, indices, axis))


def make_weight(
    name: str, values: Array, precision: Precision, *, int4_group: int | None = None
) -> OpenVINOWeight:
    """Makes a weight of values [out, in] or [n] in this precision.

    int4_group: most neighbours that share an int4 scale; None is what int4 stands for.
    """
    values = np.ascontiguousarray(values)
    if precision in CPU_METHODS:
        stored = FORMATS[precision]
        if precision == "int4" and int4_group is not None:
            stored = WeightFormat(kind="int4", group_size=int4_group)
        rows = quantize_rows(values, stored, method=CPU_METHODS[precision])
        return weight_of_rows(name, rows)
    if precision == "bf16":
        return OpenVINOWeight(name=name, kind=ov.Type.bf16, values=to_bf16_bits(values))
    return OpenVINOWeight(name=name, kind=ov.Type.f32, values=values)


def weight_of_rows(name: str, rows: QuantizedRows) -> OpenVINOWeight:
    """Makes a weight of a matrix that is already quantized, with its own codes and scales."""
    scales = rows.scales.astype(np.float32, copy=False)
    if rows.format.kind == "int4":
        return OpenVINOWeight(name=name, kind=ov.Type.i4, values=rows.codes, scales=scales)
    codes = rows.codes.reshape(rows.shape)
    return OpenVINOWeight(name=name, kind=ov.Type.i8, values=codes, scales=scales.reshape(-1, 1))


def side_by_side(weights: Sequence[OpenVINOWeight]) -> OpenVINOWeight | None:
    """Stacks the rows of all weights; None if their formats differ."""
    first = weights[0]
    if any((w.kind, w.values.shape[1:]) != (first.kind, first.values.shape[1:]) for w in weights):
        return None
    scales = [weight.scales for weight in weights if weight.scales is not None]
    return OpenVINOWeight(
        name="+".join(weight.name for weight in weights),
        kind=first.kind,
        values=np.concatenate([weight.values for weight in weights]),
        scales=np.concatenate(scales) if scales else None,
    )


def _int4_constant(values: NDArray[np.int8]) -> ov.Node:
    """Packs two values into a byte, the first in its lower half."""
    assert math.prod(values.shape) % 2 == 0
    nibbles = values.reshape(-1, 2).view(np.uint8) & 15
    tensor = ov.Tensor(ov.Type.i4, ov.Shape(list(values.shape)))
    packed = tensor.data.reshape(-1).view(np.uint8)
    packed[:] = nibbles[:, 0] | nibbles[:, 1] << 4
    return ov.op.Constant(tensor, shared_memory=False)


def _decompressed(constant: ov.Node) -> ov.Node:
    """Converts to f32 with the decompression mark, which Python cannot set: it is copied from a
    model that has it.
    """
    result = ops.result(ops.constant(np.zeros(1, np.float32)))
    donor = ov.Model([result], [])  # pyright: ignore[reportGeneralTypeIssues] - its stub has a wrong self
    compress_model_transformation(donor)
    convert = result.input_value(0).get_node()
    assert "decompression_0" in convert.get_rt_info()
    convert.input(0).replace_source_output(constant.output(0))
    convert.validate_and_infer_types()
    convert.output(0).get_tensor().set_names(set())
    return _named(convert, f"{constant.get_friendly_name()}/f32")


def _named(node: ov.Node, name: str) -> ov.Node:
    node.set_friendly_name(name)
    return node
