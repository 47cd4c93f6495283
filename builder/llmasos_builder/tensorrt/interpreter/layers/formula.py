"""The form that every layer's formula has."""

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
    """An input that may be absent."""
    return inputs[index] if index < len(inputs) else None


def chosen(layer: Layer, table: Mapping[str, OperationT], option: Any) -> OperationT:
    """The row of a table that one of TensorRT's enumerations names."""
    if option.name not in table:
        raise layer.error(f"{option.name} cannot be interpreted")
    return table[option.name]


def axes_of(mask: int, rank: int) -> tuple[int, ...]:
    """Axes that a bit mask names."""
    return tuple(axis for axis in range(rank) if mask >> axis & 1)
