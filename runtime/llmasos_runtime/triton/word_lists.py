"""Lists of tokens as the classic tensors hold them: rows of one length, and lists of words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray


def padded_rows(rows: Sequence[Sequence[int]], padding: Sequence[int]) -> NDArray[np.int32]:
    """[rows, longest]; each row is filled up behind with its padding."""
    whole = np.full((len(rows), max(map(len, rows))), np.array(padding)[:, None], np.int32)
    for row, tokens in zip(whole, rows, strict=True):
        row[: len(tokens)] = tokens
    return whole


def word_lists(rows: Sequence[Sequence[Sequence[int]]]) -> NDArray[np.int32]:
    """[rows, 2, most tokens]: of each row the ids of all its words, filled up with 0, and where
    each word ends, filled up with -1.
    """
    ids = [[token for word in words for token in word] for words in rows]
    ends = [list(accumulate(map(len, words))) for words in rows]
    lists = np.zeros((len(rows), 2, max(map(len, ids))), np.int32)
    lists[:, 1] = -1
    for row, (tokens, stops) in enumerate(zip(ids, ends, strict=True)):
        lists[row, 0, : len(tokens)] = tokens
        lists[row, 1, : len(stops)] = stops
    return lists
