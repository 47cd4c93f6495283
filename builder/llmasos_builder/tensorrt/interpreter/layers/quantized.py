"""Quantized values and their scales: one for a tensor, a row, or each block of a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.layers.formula import Formula, Inputs, optional
from llmasos_builder.tensorrt.interpreter.numbers import Array, rounded_to

_INT8_RANGE = (-128, 127)


def _dequantize(layer: Layer, inputs: Inputs) -> Array:
    """values * scale."""
    values: Array = inputs[0].astype(np.float32)
    return values * _scale(layer, inputs)


def _quantize(layer: Layer, inputs: Inputs) -> Array:
    """values / scale, rounded to the nearest (ties to even) and clipped to the range."""
    (output,) = layer.outputs
    quotient: Array = inputs[0] / _scale(layer, inputs)
    if output.dtype == "FP8":
        return rounded_to(quotient, "FP8")
    if output.dtype == "INT8":
        return np.clip(np.rint(quotient), *_INT8_RANGE)
    raise layer.error(f"quantizing to {output.dtype} cannot be interpreted")


def _scale(layer: Layer, inputs: Inputs) -> Array:
    """Returns the second input, broadcast to multiply the first."""
    values: Array = inputs[0]
    scale: Array = inputs[1]
    if optional(inputs, 2) is not None:
        raise layer.error("zero points cannot be interpreted")
    if not scale.min() > 0:
        raise layer.error(f"scales must be positive, found {scale.min()}")
    if scale.size == 1:
        return scale.reshape(())
    if scale.ndim == 1:
        axis = layer.settings.axis
        if scale.size != values.shape[axis]:
            raise layer.error(f"{scale.size} scales for axis {axis} of {list(values.shape)}")
        return scale.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return _of_blocks(layer, values.shape, scale)


def _of_blocks(layer: Layer, shape: tuple[int, ...], scale: Array) -> Array:
    """Repeats the scale of each block along one of the last two axes within its block."""
    if scale.ndim != len(shape) or any(n % m for n, m in zip(shape, scale.shape, strict=True)):
        raise layer.error(f"scales {list(scale.shape)} do not divide {list(shape)} into blocks")
    for axis, (size, count) in enumerate(zip(shape, scale.shape, strict=True)):
        if size != count:
            scale = np.repeat(scale, size // count, axis)
    return scale


FORMULAS: Mapping[str, Formula] = {"DEQUANTIZE": _dequantize, "QUANTIZE": _quantize}
