"""Finds the largest values of a row in a pass or two, without sorting it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32]
_Ids = NDArray[np.intp]
_MIN_COLUMNS = 2048


def top_k(logits: _Floats, k: int) -> _Ids:
    """Returns the ids of the k largest, ascending."""
    found = np.partition(largest(logits, k), -k)[-k:]
    bound = found.min()
    return down_to(logits, bound, int(np.count_nonzero(found == bound)))


def largest(values: _Floats, n: int) -> _Floats:
    """Returns at least the n largest values, in a pass or two, and seldom many more.

    The values are laid out as a table. At least n values are not below the n-th largest of its
    columns' maxima.
    """
    num_columns = max(_MIN_COLUMNS, 4 * n)
    num_rows = values.size // num_columns
    if num_rows < 2:
        return values
    heads = values[: num_rows * num_columns].reshape(num_rows, num_columns).max(axis=0)
    found: _Floats = values[values >= np.partition(heads, -n)[-n]]
    return found


def down_to(values: _Floats, bound: np.float32, num_equal: int) -> _Ids:
    """Returns positions of values above the bound and of the first num_equal equal to it,
    ascending.
    """
    is_kept = values >= bound
    is_kept[np.flatnonzero(values == bound)[num_equal:]] = False
    return np.flatnonzero(is_kept)
