"""Layers that reduce along axes: reductions, softmax, normalization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.layers.formula import (
    Formula,
    Inputs,
    axes_of,
    chosen,
    optional,
)
from llmasos_builder.tensorrt.interpreter.numbers import Array

_REDUCE: Mapping[str, Callable[..., Any]] = {
    "AVG": np.mean,
    "MAX": np.max,
    "MIN": np.min,
    "PROD": np.prod,
    "SUM": np.sum,
}


def _reduce(layer: Layer, inputs: Inputs) -> Array:
    settings = layer.settings
    x: Array = inputs[0]
    operation = chosen(layer, _REDUCE, settings.op)
    result: Array = operation(x, axis=axes_of(settings.axes, x.ndim), keepdims=settings.keep_dims)
    return result


def _softmax(layer: Layer, inputs: Inputs) -> Array:
    return softmax(inputs[0], axes_of(layer.settings.axes, inputs[0].ndim))


def softmax(x: Array, axes: int | tuple[int, ...]) -> Array:
    """exp(x) / sum(exp(x)), without leaving float32's range; NaN where every x is -inf."""
    largest = x.max(axis=axes, keepdims=True)
    exponentials = np.exp(x - largest)
    result: Array = exponentials / exponentials.sum(axis=axes, keepdims=True)
    return result


def _normalization(layer: Layer, inputs: Inputs) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias (arXiv:1607.06450)."""
    settings = layer.settings
    if settings.num_groups != 1:
        raise layer.error("groups of channels cannot be interpreted")
    x: Array = inputs[0]
    axes = axes_of(settings.axes, x.ndim)
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = np.mean(centred**2, axis=axes, keepdims=True)
    result: Array = centred / np.sqrt(variance + np.float32(settings.epsilon)) * inputs[1]
    bias = optional(inputs, 2)
    return result if bias is None else result + bias


FORMULAS: Mapping[str, Formula] = {
    "NORMALIZATION": _normalization,
    "REDUCE": _reduce,
    "SOFTMAX": _softmax,
}
