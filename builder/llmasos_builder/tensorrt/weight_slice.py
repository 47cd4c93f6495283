"""The slice of a weight that a rank keeps, quantized or not.

A matrix is quantized whole and then sliced, so that its scales are those of the whole matrix, and
all ranks together hold exactly what one engine would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from llmasos.errors import InvalidRequestError
from numpy.typing import NDArray

from llmasos_builder.tensorrt.quantization import QuantizedMatrix


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSlice:
    """Rows of a weight [out, in] or [out], or columns of one [out, in]; parts side by side."""

    rows: tuple[range, ...] = ()
    columns: range | None = None

    def __post_init__(self) -> None:
        assert bool(self.rows) != (self.columns is not None)

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Returns a copy of the slice, so that the rest can be freed."""
        if self.columns is None:
            return _rows(values, self.rows)
        return values[:, self.columns.start : self.columns.stop].copy()

    def of_quantized(self, name: str, matrix: QuantizedMatrix) -> QuantizedMatrix:
        """Raises InvalidRequestError if columns of two ranks share a scale."""
        width, scales = matrix.shape[1], matrix.scales
        if self.columns is None:
            values = _rows(matrix.values, self.rows)
            scales = _rows(scales, self.rows) if scales.ndim else scales
            return replace(matrix, shape=(len(values), width), values=values, scales=scales)
        if scales.ndim == 2:
            group = width // scales.shape[1]
            if self.columns.start % group or self.columns.stop % group:
                raise InvalidRequestError(
                    f"precision {matrix.precision} scales {group} neighbouring inputs of {name} "
                    f"together, and tensor_parallel_size cuts them into parts of "
                    f"{len(self.columns)}",
                    hint="choose int8, or another tensor_parallel_size",
                )
            scales = _columns(scales, self.columns, width)
        values = _columns(matrix.values, self.columns, width)
        shape = (matrix.shape[0], len(self.columns))
        return replace(matrix, shape=shape, values=values, scales=scales)


def _rows(values: NDArray[Any], rows: Sequence[range]) -> NDArray[Any]:
    return np.concatenate([values[part.start : part.stop] for part in rows])


def _columns(values: NDArray[Any], columns: range, width: int) -> NDArray[Any]:
    """Slices columns out of `width`; an element of values may stand for several."""
    each = width // values.shape[1]
    return values[:, columns.start // each : columns.stop // each].copy()
