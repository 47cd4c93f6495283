"""Layers that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.layers.formula import Formula, Inputs, optional
from llmasos_builder.tensorrt.interpreter.numbers import Array


def _shape(layer: Layer, inputs: Inputs) -> Array:  # noqa: ARG001
    return np.array(inputs[0].shape, np.int64)


def _shuffle(layer: Layer, inputs: Inputs) -> Array:
    """Transposes, changes the shape (fixed or computed), and transposes again."""
    settings = layer.settings
    x = _transposed(inputs[0], settings.first_transpose)
    wanted = optional(inputs, 1)
    sizes = _set_sizes(settings.reshape_dims) if wanted is None else wanted.tolist()
    if sizes is not None:
        if settings.zero_is_placeholder:
            sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        if np.prod(sizes) != x.size and -1 not in sizes:
            raise layer.error(f"{list(x.shape)} cannot become {sizes}")
        x = x.reshape(sizes)
    return _transposed(x, settings.second_transpose)


def _transposed(x: Array, permutation: Any) -> Array:
    return x.transpose(list(permutation)[: x.ndim])


def _set_sizes(dims: Any) -> list[int] | None:
    """Returns None if no change of shape was set."""
    if dims is None:
        return None
    try:
        return list(dims)
    except ValueError:  # the sizes of invalid dimensions have a negative length
        return None


def _unsqueeze(layer: Layer, inputs: Inputs) -> Array:  # noqa: ARG001
    x, axes = inputs
    expanded: Array = np.expand_dims(x, tuple(axes.ravel().tolist()))
    return expanded


def _squeeze(layer: Layer, inputs: Inputs) -> Array:  # noqa: ARG001
    x, axes = inputs
    squeezed: Array = np.squeeze(x, tuple(axes.ravel().tolist()))
    return squeezed


def _concatenation(layer: Layer, inputs: Inputs) -> Array:
    return np.concatenate(inputs, axis=layer.settings.axis)


def _slice(layer: Layer, inputs: Inputs) -> Array:
    """x[start : start + size * stride : stride] of each axis, all of it inside x."""
    settings = layer.settings
    if settings.mode.name != "STRICT_BOUNDS" or optional(inputs, 4) is not None:
        raise layer.error("only slices that stay inside their input can be interpreted")
    x: Array = inputs[0]
    start = _sizes(settings.start, optional(inputs, 1))
    size = _sizes(settings.shape, optional(inputs, 2))
    stride = _sizes(settings.stride, optional(inputs, 3))
    parts = tuple(
        slice(first, first + count * step, step)
        for first, count, step in zip(start, size, stride, strict=True)
    )
    for axis, (first, count, step) in enumerate(zip(start, size, stride, strict=True)):
        if first < 0 or step < 1 or first + (count - 1) * step >= x.shape[axis]:
            raise layer.error(f"axis {axis}: {first}, {count} x {step} leaves {list(x.shape)}")
    return x[parts]


def _sizes(setting: Any, computed: Array | None) -> Sequence[int]:
    return list(setting) if computed is None else computed.tolist()


FORMULAS: Mapping[str, Formula] = {
    "CONCATENATION": _concatenation,
    "SHAPE": _shape,
    "SHUFFLE": _shuffle,
    "SLICE": _slice,
    "SQUEEZE": _squeeze,
    "UNSQUEEZE": _unsqueeze,
}
