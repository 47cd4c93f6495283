"""A matrix as integers, with scales and zero points for groups of neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.errors import InvalidRequestError
from numpy.typing import NDArray

from llmasos_builder.graph import Array

Codes = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerFormat:
    """Integers of so many bits, least to largest. group_size: neighbours of a row that share a
    scale; None is the whole row. symmetric: there are no zero points.
    """

    bits: int
    group_size: int | None
    symmetric: bool = True

    @property
    def least(self) -> int:
        """Also of rows of 8 bits, -128 is left out: engines keep -127 to 127."""
        return -(1 << (self.bits - 1)) + (self.bits == 8)

    @property
    def largest(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def group_of(self, name: str, columns: int) -> int:
        """Returns the group of a row. Raises InvalidRequestError, which names the matrix."""
        size = self.group_size or columns
        if columns % size:
            raise InvalidRequestError(
                f"group-size is {size}, which does not divide the {columns} inputs of {name}",
                hint="choose another group-size, or --ignore the matrix",
            )
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerCodes:
    """A matrix [out, in]; a value is (code - zero) * scale of its group.

    codes: int8 [out, in]. scales: [out, groups], in the type that they are stored in. zeros: int8
    [out, groups]; None where the format is symmetric.
    """

    format: IntegerFormat
    codes: Codes
    scales: NDArray[Any]
    zeros: Codes | None = None

    @property
    def levels(self) -> Array:
        """The codes with their zero points taken off, as float32 [out, in]."""
        levels: Array = self.codes.astype(np.float32)
        if self.zeros is not None:
            levels -= self._spread(self.zeros.astype(np.float32))
        return levels

    def values(self) -> Array:
        """Returns the matrix in float32."""
        return self.levels * self._spread(self.scales.astype(np.float32))

    def _spread(self, per_group: Array) -> Array:
        return np.repeat(per_group, self.codes.shape[1] // per_group.shape[1], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What a group's values are rounded to. scales, zeros: [out, groups], float32; zeros are whole
    numbers, 0 where the format is symmetric.
    """

    format: IntegerFormat
    scales: Array
    zeros: Array

    def of_columns(self, columns: int) -> tuple[Array, Array]:
        """Returns scale and zero point of each value, [out, columns]."""
        group = columns // self.scales.shape[1]
        return np.repeat(self.scales, group, axis=1), np.repeat(self.zeros, group, axis=1)

    def nearest(self, values: Array) -> Array:
        """Returns the nearest codes, as float32."""
        scales, zeros = self.of_columns(values.shape[1])
        codes: Array = np.rint(values / scales) + zeros
        return codes.clip(self.format.least, self.format.largest)

    def with_codes(self, codes: Array, scale_type: Any) -> IntegerCodes:
        """The grid as what is stored; scales must be exact in their type."""
        symmetric = self.format.symmetric
        return IntegerCodes(
            format=self.format,
            codes=codes.astype(np.int8),
            scales=self.scales.astype(scale_type),
            zeros=None if symmetric else self.zeros.astype(np.int8),
        )
