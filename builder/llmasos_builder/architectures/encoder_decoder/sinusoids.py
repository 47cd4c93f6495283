"""Computed positions (Vaswani et al., arXiv:1706.03762, section 3.5) in transformers' two forms.

Both have sines in the first half of a row and cosines in the second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmasos_builder.graph import Array

_BASE = 10000.0


def paper_positions(length: int, width: int) -> Array:
    """Returns [length, width] with the wavelengths of the paper, as Marian and Pegasus have it."""
    exponents = np.arange(0, width, 2) / width
    return _table(np.arange(length), _BASE**-exponents, width)


def tensor2tensor_positions(length: int, width: int, *, offset: int) -> Array:
    """Returns [length, width] with the wavelengths of tensor2tensor, as M2M100 has it; offset: the
    number of the first position.
    """
    half = width // 2
    step = np.float32(np.log(_BASE) / (half - 1))
    frequencies = np.exp(np.arange(half, dtype=np.float32) * -step)
    return _table(np.arange(offset, offset + length), frequencies, width)


def _table(positions: NDArray[Any], frequencies: NDArray[Any], width: int) -> Array:
    angles = positions[:, None] * frequencies[None]
    assert width == 2 * angles.shape[1], "an odd width"
    table: Array = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    return table
