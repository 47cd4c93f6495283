"""The signature of every layer's formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.numbers import Array

# An input that a layer does without is None.
Inputs = Sequence[Any]
Formula = Callable[[Layer, Inputs], Array | tuple[Array, ...]]
OperationT = TypeVar("OperationT")


def optional(inputs: Inputs, index: int) -> Array | None:
    """Returns an input that may be missing."""
    return inputs[index] if index < len(inputs) else None


def chosen(layer: Layer, table: Mapping[str, OperationT], option: Any) -> OperationT:
    """Returns the row of a table for a value of one of TensorRT's enumerations."""
    if option.name not in table:
        raise layer.error(f"{option.name} cannot be interpreted")
    return table[option.name]


def axes_of(mask: int, rank: int) -> tuple[int, ...]:
    """Returns the axes of a bit mask."""
    return tuple(axis for axis in range(rank) if mask >> axis & 1)
