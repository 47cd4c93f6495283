"""What a layout of quantized matrices is: the tensors that one matrix is stored as."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

Array = NDArray[np.float32]


class StoredTensors(Protocol):
    """Tensors as they are in the file."""

    def names(self) -> frozenset[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def stored_type(self, name: str) -> str:
        """Returns the type by its name in safetensors."""
        ...

    def load(self, name: str) -> Array: ...
    def load_stored(self, name: str) -> NDArray[Any]:
        """Reads one tensor in the type in which it is stored."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The tensors of one matrix. prefix: what their names begin with, with its dot."""

    stored: StoredTensors
    prefix: str

    def has(self, part: str) -> bool:
        return self.prefix + part in self.stored.names()

    def shape(self, part: str) -> tuple[int, ...]:
        return self.stored.shape(self.prefix + part)

    def kind(self, part: str) -> str:
        """The stored type of a tensor by its name in safetensors."""
        return self.stored.stored_type(self.prefix + part)

    def load(self, part: str, *shape: int, kind: str | None = None) -> NDArray[Any]:
        """Reads a tensor of this shape; raises CheckpointError if it has another shape or type."""
        name = self.prefix + part
        found = self.stored.shape(name)
        if found != shape:
            raise CheckpointError(
                f"tensor {name} has the shape {list(found)}, {list(shape)} expected"
            )
        if kind is not None and self.kind(part) != kind:
            raise CheckpointError(f"tensor {name} has the type {self.kind(part)}, {kind} expected")
        return self.stored.load_stored(name)

    def load_values(self, part: str, *shape: int) -> Array:
        """Reads numbers, such as scales, as float32."""
        return self.load(part, *shape).astype(np.float32)

    def refuse(self, what: str) -> CheckpointError:
        """The error of a matrix that is not stored as its layout says."""
        return CheckpointError(f"the quantized matrix {self.prefix.rstrip('.')} {what}")


class Layout(Protocol):
    """How a library stores a matrix.

    mark: the tensor by which a matrix is recognized. others: tensors that may stand beside it.
    """

    @property
    def mark(self) -> str: ...
    @property
    def others(self) -> frozenset[str]: ...

    def is_of(self, parts: Parts) -> bool:
        """Whether a matrix that has the mark is stored in this layout."""
        ...

    def shape(self, parts: Parts) -> tuple[int, int]:
        """The matrix's [out, in], from shapes alone where possible."""
        ...

    def bits(self, parts: Parts) -> int:
        """Bits of one stored number."""
        ...

    def group(self, parts: Parts) -> int | None:
        """Neighbours of a row that share a scale; None where they lie apart or a row has one."""
        ...

    def values(self, parts: Parts) -> Array:
        """The matrix's values [out, in], exact in float32 but for its last rounding."""
        ...


def fields_of(words: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Unpacks int32 words [n, words] of bits-wide fields, lowest first, to [n, words * 32 / bits].

    bits 4:  31..28 27..24  …  7..4  3..0
               [7]    [6]   …  [1]   [0]
    """
    unsigned = np.ascontiguousarray(words).view(np.uint32)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    fields = unsigned[..., None] >> shifts & np.uint32((1 << bits) - 1)
    return fields.reshape(len(words), -1).astype(np.int32)


def nibbles_of(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unpacks bytes [n, m] of two 4-bit fields, the low one first, to [n, 2 m]."""
    unpacked = np.empty((*packed.shape, 2), np.uint8)
    unpacked[..., 0], unpacked[..., 1] = packed & 15, packed >> 4
    return unpacked.reshape(len(packed), -1)


def spread(scales: Array, columns: int) -> Array:
    """Repeats each scale [out, groups] for the neighbours that share it: [out, columns]."""
    return np.repeat(scales, columns // scales.shape[1], axis=1)


def group_of(columns: int, groups: int, parts: Parts) -> int:
    """Columns of a group; raises CheckpointError where groups do not divide them."""
    if groups < 1 or columns % groups:
        raise parts.refuse(f"has {columns} inputs, which {groups} groups do not divide")
    return columns // groups


def words_for(count: int, bits: int) -> int:
    """Words of 32 bits for so many fields."""
    return math.ceil(count * bits / 32)
