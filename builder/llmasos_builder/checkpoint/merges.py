"""Checks that the vocabulary and the merges of a BPE tokenizer fit together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import models


def make_bpe(
    vocab: Mapping[str, Any], merges: Iterable[str | tuple[str, ...]], **options: Any
) -> models.BPE:
    """Returns the model; a merge is two tokens, as a pair or with a space between.

    Raises ValueError naming the first token or merge that does not fit.
    """
    for token, index in vocab.items():
        if type(index) is not int or not 0 <= index < 1 << 31:
            raise ValueError(f"the token {token!r} has the id {index!r}")
    pairs = [_pair(merge, vocab) for merge in merges]
    return models.BPE(vocab=dict(vocab), merges=pairs, **options)


def _pair(merge: str | tuple[str, ...], vocab: Mapping[str, Any]) -> tuple[str, str]:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if len(parts) != 2:
        raise ValueError(f"the merge {merge!r} is not a pair of tokens")
    left, right = parts
    for token in (left, right, left + right):
        if token not in vocab:
            raise ValueError(f"the merge {merge!r} needs the token {token!r}, which is missing")
    return left, right
