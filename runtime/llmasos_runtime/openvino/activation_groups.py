"""The group size in which activations are quantized for int8 and int4 matrices.

OpenVINO quantizes the inputs of such matrices to int8 at run time, each token by itself, so that
it multiplies integers (its DYNAMIC_QUANTIZATION_GROUP_SIZE). Larger groups are faster and
coarser; one that does not divide a row is slower, and one that does not divide an int4 matrix's
own groups turns the quantization off.
"""

from __future__ import annotations

import math

from llmasos.openvino_import import ov

_DEFAULT = 32
"""OpenVINO's own default."""
_LARGER = 64
"""Still larger groups are faster, and cost more than 1% of perplexity (docs/performance.md)."""


def activation_group(model: ov.Model) -> int:
    """The smallest group of int4 matrices, or 64 if that divides the rows of every int8 matrix."""
    quantized: list[tuple[ov.Type, int]] = [
        (node.get_element_type(), node.get_output_shape(0)[-1])
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and len(node.get_output_shape(0)) > 1
    ]
    groups = [group for kind, group in quantized if kind == ov.Type.i4]
    if groups:
        return min(groups)
    width = math.gcd(*(columns for kind, columns in quantized if kind == ov.Type.i8))
    return _LARGER if width and width % _LARGER == 0 else _DEFAULT
