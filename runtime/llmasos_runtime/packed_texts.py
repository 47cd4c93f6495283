"""Lays the tokens of whole texts one behind the other, as a network over packed texts reads them.

`llmasos_builder.openvino.packed_inputs` draws the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llmasos.engine.engine_io import INPUT_IDS, LENGTHS, PACKED_AT, PADDED_AT, POSITION_IDS
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def packed(texts: Sequence[Sequence[int]]) -> dict[str, Ints]:
    """Returns the inputs that depend on the texts' tokens alone, by name. texts: token ids."""
    lengths = np.array([len(text) for text in texts], np.int64)
    begins = np.cumsum(lengths) - lengths
    longest = int(lengths.max())
    rows = np.repeat(np.arange(len(texts)), lengths)
    positions = np.arange(int(lengths.sum())) - begins[rows]
    # A place behind a text's end reads the text's own last token, and is masked.
    inside = np.minimum(np.arange(longest), lengths[:, None] - 1)
    return {
        INPUT_IDS: joined(texts),
        POSITION_IDS: positions,
        LENGTHS: lengths,
        PACKED_AT: begins[:, None] + inside,
        PADDED_AT: rows * longest + positions,
    }


def joined(lists: Sequence[Sequence[int]]) -> Ints:
    """The numbers of all lists, one list behind the other."""
    return np.concatenate([np.asarray(one, np.int64) for one in lists])
