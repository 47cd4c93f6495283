"""Layers that select elements: by index, by condition, by size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.layers.formula import Formula, Inputs, axes_of, optional
from llmasos_builder.tensorrt.interpreter.numbers import Array

MAX_TOPK = 3840


def _gather(layer: Layer, inputs: Inputs) -> Array:
    """Selects rows by index. An index out of range is an error here; on a GPU it reads other
    memory.
    """
    data, indices = inputs
    axis, mode = layer.settings.axis, layer.settings.mode.name
    size = data.shape[axis]
    if indices.size and not (indices.min() >= 0 and indices.max() < size):
        raise layer.error(f"indices {indices.min()} to {indices.max()} do not fit {size} rows")
    if mode == "ELEMENT":
        picked: Array = np.take_along_axis(data, indices, axis)
        return picked
    if mode != "DEFAULT" or layer.settings.num_elementwise_dims:
        raise layer.error(f"the mode {mode} cannot be interpreted")
    rows: Array = np.take(data, indices, axis)
    return rows


def _select(layer: Layer, inputs: Inputs) -> Array:  # noqa: ARG001
    condition, when_true, when_false = inputs
    return np.where(condition, when_true, when_false)


def _topk(layer: Layer, inputs: Inputs) -> tuple[Array, Array]:
    """Returns sorted values and their positions; of equal values the first comes first."""
    settings = layer.settings
    x: Array = inputs[0]
    (axis,) = axes_of(settings.axes, x.ndim)
    given = optional(inputs, 1)
    k = settings.k if given is None else int(given.item())
    if not 1 <= k <= min(MAX_TOPK, x.shape[axis]):
        raise layer.error(f"k must be 1 to {min(MAX_TOPK, x.shape[axis])}, got {k}")
    order = np.argsort(-x if settings.op.name == "MAX" else x, axis=axis, kind="stable")
    first = np.take(order, np.arange(k), axis)
    return np.take_along_axis(x, first, axis), first


FORMULAS: Mapping[str, Formula] = {"GATHER": _gather, "SELECT": _select, "TOPK": _topk}
