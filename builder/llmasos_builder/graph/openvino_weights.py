"""Weights as OpenVINO constants that stay as small in memory as in the file.

The CPU plugin keeps Constant(i8) -> Convert -> Multiply(scale) -> MatMul as one compressed
operation, for int4 with groups as an axis of their own that a Reshape ends before the MatMul,
and Constant(bf16) -> Convert -> MatMul if the Convert is marked as decompression.
A lookup takes its rows from the constant and converts only those, so that a tied embedding
and head share one constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import openvino as ov
from llmasos.plan import Precision
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino._offline_transformations import compress_model_transformation

from llmasos_builder.graph.graph import Array
from llmasos_builder.graph.rounding import (
    quantize_groups,
    quantize_rows,
    to_bf16_bits,
)


@dataclass(frozen=True, slots=True)
class OpenVINOWeight:
    """A constant, and for int8 its scales [out, 1]; for int4 both are in groups.

    int4: a constant [out, groups, group] and its scales [out, groups, 1].
    """

    constant: ov.Node
    scales: ov.Node | None = None

    def dense(self) -> ov.Node:
        """All of it in f32."""
        if self.constant.get_element_type() == ov.Type.f32:
            return self.constant
        if self.scales is None:
            return _decompressed(self.constant)
        values = ops.multiply(ops.convert(self.constant, "f32"), self.scales)
        if self.constant.get_element_type() != ov.Type.i4:
            return values
        out, groups, group = self.constant.get_output_shape(0)
        return ops.reshape(values, np.array([out, groups * group]), False)

    def rows(self, indices: ov.Node) -> ov.Node:
        """Rows in f32: [*indices, in]; not of int4."""
        assert self.constant.get_element_type() != ov.Type.i4
        axis = ops.constant(np.int64(0))
        values = ops.gather(self.constant, indices, axis)
        if self.constant.get_element_type() != ov.Type.f32:
            values = ops.convert(values, "f32")
        if self.scales is None:
            return values
        return ops.multiply(values, ops.gather(self.scales, indices, axis))


def make_weight(name: str, values: Array, precision: Precision) -> OpenVINOWeight:
    """Copies values [out, in] or [n] into a constant of this precision."""
    values = np.ascontiguousarray(values)
    if precision == "int8":
        quantized, scales = quantize_rows(values)
        return OpenVINOWeight(
            _named(ops.constant(quantized), name), _named(ops.constant(scales), f"{name}/scale")
        )
    if precision == "int4":
        groups, scales = quantize_groups(values)
        return OpenVINOWeight(
            _named(_int4_constant(groups), name), _named(ops.constant(scales), f"{name}/scale")
        )
    if precision == "bf16":
        bits = to_bf16_bits(values)
        tensor = ov.Tensor(bits, ov.Shape(list(bits.shape)), ov.Type.bf16)
        return OpenVINOWeight(_named(ov.op.Constant(tensor, shared_memory=False), name))
    return OpenVINOWeight(_named(ops.constant(values, ov.Type.f32), name))


def _int4_constant(values: NDArray[np.int8]) -> ov.Node:
    """Two values in a byte, the first in its lower half."""
    assert math.prod(values.shape) % 2 == 0
    nibbles = values.reshape(-1, 2).view(np.uint8) & 15
    tensor = ov.Tensor(ov.Type.i4, ov.Shape(list(values.shape)))
    packed = tensor.data.reshape(-1).view(np.uint8)
    packed[:] = nibbles[:, 0] | nibbles[:, 1] << 4
    return ov.op.Constant(tensor, shared_memory=False)


def _decompressed(constant: ov.Node) -> ov.Node:
    """Convert to f32 with the mark, which Python cannot set: taken from a model that has it."""
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
