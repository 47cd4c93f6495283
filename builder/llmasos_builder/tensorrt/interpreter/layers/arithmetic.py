"""Layers that compute element by element, and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.layers.formula import Formula, Inputs, chosen
from llmasos_builder.tensorrt.interpreter.numbers import Array

_erf = np.vectorize(math.erf, otypes=[np.float32])


def _divide(a: Array, b: Array) -> Array:
    """Divides; integers round towards zero, as in C."""
    quotient: Array = a / b
    return quotient if a.dtype.kind == "f" else np.trunc(quotient).astype(a.dtype)


_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "SUM": np.add,
    "PROD": np.multiply,
    "SUB": np.subtract,
    "DIV": _divide,
    "FLOOR_DIV": np.floor_divide,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "POW": np.power,
    "AND": np.logical_and,
    "OR": np.logical_or,
    "XOR": np.logical_xor,
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
}
_UNARY: Mapping[str, Callable[[Any], Any]] = {
    "ABS": np.abs,
    "CEIL": np.ceil,
    "COS": np.cos,
    "ERF": _erf,
    "EXP": np.exp,
    "FLOOR": np.floor,
    "LOG": np.log,
    "NEG": np.negative,
    "NOT": np.logical_not,
    "RECIP": lambda x: 1 / x,
    "ROUND": np.rint,
    "SIGN": np.sign,
    "SIN": np.sin,
    "SQRT": np.sqrt,
}
_ACTIVATION: Mapping[str, Callable[[Any], Any]] = {
    "RELU": lambda x: np.maximum(x, 0),
    "SIGMOID": lambda x: 0.5 * (1 + np.tanh(0.5 * x)),
    "TANH": np.tanh,
    "GELU_ERF": lambda x: 0.5 * x * (1 + _erf(x * math.sqrt(0.5))),
    "GELU_TANH": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def _elementwise(layer: Layer, inputs: Inputs) -> Array:
    a, b = inputs
    if a.ndim != b.ndim or a.dtype != b.dtype:
        raise layer.error(f"{a.dtype}{list(a.shape)} does not go with {b.dtype}{list(b.shape)}")
    result: Array = chosen(layer, _BINARY, layer.settings.op)(a, b)
    return result


def _unary(layer: Layer, inputs: Inputs) -> Array:
    result: Array = chosen(layer, _UNARY, layer.settings.op)(inputs[0])
    return result


def _activation(layer: Layer, inputs: Inputs) -> Array:
    # The class of a layer's settings calls the kind of activation `type`, as its base calls
    # the kind of layer.
    result: Array = chosen(layer, _ACTIVATION, layer.settings.type)(inputs[0])
    return result


def _cast(layer: Layer, inputs: Inputs) -> Array:  # noqa: ARG001
    """Returns the input; the type of the output converts it."""
    x: Array = inputs[0]
    return x


def _matrix_multiply(layer: Layer, inputs: Inputs) -> Array:
    """Multiplies with sums in float32."""
    turned = [
        _turned(layer, matrix, operation)
        for matrix, operation in zip(inputs, (layer.settings.op0, layer.settings.op1), strict=True)
    ]
    product: Array = turned[0] @ turned[1]
    return product


def _turned(layer: Layer, matrix: Array, operation: Any) -> Array:
    turn: Mapping[str, Callable[[Array], Array]] = {
        "NONE": lambda x: x,
        "TRANSPOSE": lambda x: x.swapaxes(-1, -2),
    }
    return chosen(layer, turn, operation)(matrix)


FORMULAS: Mapping[str, Formula] = {
    "ACTIVATION": _activation,
    "CAST": _cast,
    "ELEMENTWISE": _elementwise,
    "IDENTITY": _cast,
    "MATRIX_MULTIPLY": _matrix_multiply,
    "UNARY": _unary,
}
