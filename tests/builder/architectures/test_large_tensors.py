"""A tensor that does not fit into memory is named, and not loaded."""

from __future__ import annotations

import numpy as np
import pytest
from llmasos.errors import CheckpointError
from llmasos_builder.architectures.tensors import load_tensor
from numpy.typing import NDArray


class Large:
    """One tensor of any shape, which memory may not be enough for."""

    def __init__(self, *shape: int) -> None:
        self._shape = shape

    def names(self) -> frozenset[str]:
        return frozenset({"a"})

    def shape(self, name: str) -> tuple[int, ...]:
        assert name == "a"
        return self._shape

    def load(self, name: str) -> NDArray[np.float32]:
        raise MemoryError(name)


def test_a_tensor_that_is_larger_than_all_memory_is_not_loaded() -> None:
    with pytest.raises(CheckpointError, match=rf"needs {1 << 62} bytes of memory, this machine"):
        load_tensor(Large(1 << 30, 1 << 30), "a")


def test_a_tensor_that_memory_is_not_enough_for_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"tensor a of the shape \[2, 3\] does not fit into"):
        load_tensor(Large(2, 3), "a")
