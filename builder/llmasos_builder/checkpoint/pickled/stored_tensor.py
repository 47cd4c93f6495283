"""A tensor as torch stores it: which numbers of a storage it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

_MAX_DIMENSIONS = 64
_TOO_LARGE = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Numbers of one type in a row: their place in the archive, and how many there are."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Which numbers of a storage, from where and in which steps."""

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
            raise ValueError("a tensor that ends behind its storage")


def is_size(value: object) -> TypeGuard[int]:
    """Whether a value that a file gives can be a size, a step or a place."""
    return type(value) is int and 0 <= value < _TOO_LARGE
