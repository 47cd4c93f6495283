"""A tensor as torch stores it: a strided view of a storage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

_MAX_DIMENSIONS = 64
_TOO_LARGE = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Numbers of one type in a row: their record in the archive, and their count."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A strided view of a storage: its offset, shape and strides."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.strides) or len(self.shape) > _MAX_DIMENSIONS:
            raise ValueError("a tensor of odd sizes")
        if not all(map(is_size, (self.offset, *self.shape, *self.strides))):
            raise ValueError("a tensor of odd sizes")
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * step for size, step in steps)
        if math.prod(self.shape) and last >= self.storage.count:
            raise ValueError("a tensor that ends after its storage")


def is_size(value: object) -> TypeGuard[int]:
    """True if a value from a file can be a size, a stride or an offset."""
    return type(value) is int and 0 <= value < _TOO_LARGE
