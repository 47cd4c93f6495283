"""The inputs of a step over whole texts; `llmasos_builder.openvino.packed_inputs` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from llmasos.engine.engine_io import (
    INPUT_IDS,
    LENGTHS,
    PACKED_AT,
    PADDED_AT,
    POSITION_IDS,
    SELECTED,
    TOKEN_TYPE_IDS,
)
from numpy.typing import NDArray

from llmasos_runtime.encoding.request import Tokens

Ints = NDArray[np.int64]


def pack_texts(texts: Sequence[Tokens]) -> Mapping[str, Ints]:
    """Returns every input by its name; a network takes those that it has."""
    lengths = np.array([len(text.token_ids) for text in texts], np.int64)
    begins = np.cumsum(lengths) - lengths
    longest = int(lengths.max())
    places = np.arange(longest)
    rows = np.repeat(np.arange(len(texts)), lengths)
    positions = np.arange(int(lengths.sum())) - begins[rows]
    # A place behind a text's end reads the text's own last token, and is masked.
    inside = np.minimum(places, lengths[:, None] - 1)
    selected = [
        begin + at for begin, text in zip(begins, texts, strict=True) for at in text.selected
    ]
    return {
        INPUT_IDS: _joined([text.token_ids for text in texts]),
        TOKEN_TYPE_IDS: _joined([text.type_ids for text in texts]),
        POSITION_IDS: positions,
        LENGTHS: lengths,
        PACKED_AT: begins[:, None] + inside,
        PADDED_AT: rows * longest + positions,
        SELECTED: np.array(selected, np.int64),
    }


def _joined(lists: Sequence[Sequence[int]]) -> Ints:
    return np.concatenate([np.asarray(one, np.int64) for one in lists])
