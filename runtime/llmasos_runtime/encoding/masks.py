"""Gaps in texts, and the likeliest tokens for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llmasos.encoding.results import FilledMask
from llmasos.errors import InvalidRequestError
from llmasos.text.tokenizer import Tokenizer
from llmasos.text.whole_texts import WholeText

from llmasos_runtime.encoding.request import Rows


def mask_id_of(tokenizer: Tokenizer) -> int:
    """Returns the token that marks a gap. Raises InvalidRequestError if the model has none."""
    found = tokenizer.named_token_id("mask_token")
    if found is None:
        raise InvalidRequestError("this model's tokenizer has no mask_token")
    return found


def mask_places(text: WholeText, mask_id: int, number: int) -> list[int]:
    """Returns the places of a text's gaps. Raises InvalidRequestError for a text without one."""
    places = [place for place, token_id in enumerate(text.token_ids) if token_id == mask_id]
    if not places:
        raise InvalidRequestError(f"text {number} has no mask token, at least one is needed")
    return places


def filled_masks(
    tokenizer: Tokenizer,
    token_ids: Sequence[int],
    places: Sequence[int],
    scores: Rows,
    top_k: int,
) -> list[list[FilledMask]]:
    """Returns the top_k likeliest tokens of each gap. scores: [gaps, vocabulary]."""
    return [
        [
            _filled(tokenizer, token_ids, place, int(token_id), float(row[token_id]))
            for token_id in np.argsort(-row, kind="stable")[:top_k]
        ]
        for place, row in zip(places, scores, strict=True)
    ]


def _filled(
    tokenizer: Tokenizer, token_ids: Sequence[int], place: int, token_id: int, score: float
) -> FilledMask:
    whole = [*token_ids[:place], token_id, *token_ids[place + 1 :]]
    return FilledMask(
        token=tokenizer.decode([token_id]).strip(),
        token_id=token_id,
        score=score,
        text=tokenizer.decode(whole),
    )
