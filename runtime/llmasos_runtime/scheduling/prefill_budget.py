"""Divides a step's token budget among prompts in prefill (chunked prefill).

The shortest of one priority goes first, so that a long prompt does not delay short requests. The
prompt that came first always gets a quarter, so that a stream of short ones cannot starve it.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Share

_SHARE_OF_THE_FIRST = 4
"""The sequence that came first gets at least one part in this many."""


def divide(prefilling: SequenceOf[Sequence], budget: int, *, chunk_multiple: int) -> list[Share]:
    """Returns a share for each sequence that computes something, at most budget tokens in all.

    prefilling: sequences with tokens to compute. chunk_multiple: a chunk that does not reach its
    sequence's last token ends where the number of computed tokens is a multiple of this.
    """
    counts: dict[Sequence, int] = {}
    first = min(prefilling, key=lambda s: s.rank)
    guaranteed = max(budget // _SHARE_OF_THE_FIRST, chunk_multiple)
    counts[first] = _chunk(first, min(guaranteed, budget), chunk_multiple)
    budget -= counts[first]
    for sequence in sorted(prefilling, key=_shortest_first):
        given = counts.get(sequence, 0)
        counts[sequence] = _chunk(sequence, given + budget, chunk_multiple)
        budget -= counts[sequence] - given
    return [Share(sequence, counts[sequence]) for sequence in prefilling if counts[sequence]]


def _shortest_first(sequence: Sequence) -> tuple[int, int, int]:
    return sequence.rank.level, sequence.num_pending_tokens, sequence.rank.arrival


def _chunk(sequence: Sequence, most: int, chunk_multiple: int) -> int:
    """Returns the number of its tokens in the next step, at most `most`."""
    if sequence.num_pending_tokens <= most:
        return sequence.num_pending_tokens
    ends_at = sequence.num_computed_tokens + most
    return max(0, ends_at - ends_at % chunk_multiple - sequence.num_computed_tokens)
