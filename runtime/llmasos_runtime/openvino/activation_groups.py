"""How many neighbours of an activation share a scale on their way into an int8 or int4 matrix.

OpenVINO quantizes the inputs of such matrices to int8 while it computes, each token by itself,
so that the products are those of integers (its DYNAMIC_QUANTIZATION_GROUP_SIZE). Larger groups
are faster and coarser; one that does not divide a row is slower, and one that does not divide
an int4 matrix's own groups turns the quantization off.
"""

from __future__ import annotations

import math

import openvino as ov

_LARGEST = 192
_STEP = 32
"""Of OpenVINO's kernels, and its default."""


def activation_group(model: ov.Model) -> int:
    """The least group of int4 matrices, or the largest that divides every int8 matrix's rows."""
    quantized: list[tuple[ov.Type, int]] = [
        (node.get_element_type(), node.get_output_shape(0)[-1])
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and len(node.get_output_shape(0)) > 1
    ]
    groups = [group for kind, group in quantized if kind == ov.Type.i4]
    if groups:
        return min(groups)
    width = math.gcd(*(columns for kind, columns in quantized if kind == ov.Type.i8))
    fitting = [group for group in range(_STEP, _LARGEST + 1, _STEP) if width % group == 0]
    return max(fitting, default=_STEP)
