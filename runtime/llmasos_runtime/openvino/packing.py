"""A step as the packed inputs of paged attention."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import numpy as np
from llmasos.engine.engine_io import INPUT_IDS, POSITION_IDS
from numpy.typing import NDArray

from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Share, Step

SAMPLED_POSITIONS = "sampled_positions"
"""The input that says which tokens' logits are wanted."""

Span = tuple[Sequence, int, int]
Ints = NDArray[np.int64] | NDArray[np.int32]
Inputs = dict[str, Ints]


def pack(step: Step, *, block_size: int) -> Inputs:
    """The inputs of one forward, by name. B sequences, T tokens:

    input_ids, position_ids [T]; past_lens [B], the tokens already in the cache;
    subsequence_begins [B + 1], where each sequence's tokens begin among the T;
    block_indices, the block tables one after the other, each as long as its sequence needs;
    block_indices_begins [B + 1]; max_context_len []; sampled_positions [S], the tokens whose
    logits are wanted: the last of each sequence that is sampled, and its drafts. There is
    always at least one of the last: a forward over no row is not asked of the compiler.

    T, for a prompt of 3 tokens (a) beside a decoding sequence (b) with 40 in the cache:

        input_ids           a0  a1  a2  b40
        position_ids         0   1   2   40
        subsequence_begins   0           3     4
        past_lens            0           40
    """
    spans = [_span(share) for share in step.shares]
    begins = _begins(end - past for _, past, end in spans)
    sampled = [
        position
        for end, share in zip(begins[1:], step.shares, strict=True)
        for position in range(end - share.num_sampled, end)
    ]
    return {
        INPUT_IDS: _int64([i for share in step.shares for i in share.token_ids]),
        POSITION_IDS: _int64([i for _, past, end in spans for i in range(past, end)]),
        "past_lens": _int32([past for _, past, _ in spans]),
        "subsequence_begins": _int32(begins),
        **_block_tables(spans, block_size),
        "max_context_len": np.array(max(end for _, _, end in spans), np.int32),
        SAMPLED_POSITIONS: _int64(sampled or [0]),
    }


def advance(inputs: Inputs, step: Step, *, block_size: int) -> Inputs:
    """Move the inputs of a step on by one token each, in place: `step` is the next one.

    Both must be steps of the same sequences in the same order, that compute one token of
    each, as most are: this is a fraction of packing anew. Returns the inputs that have
    another shape now, and so are not in place: the block tables, when one grew.
    """
    sequences = [share.sequence for share in step.shares]
    inputs[INPUT_IDS][:] = [sequence.token_ids[-1] for sequence in sequences]
    inputs[POSITION_IDS] += 1
    inputs["past_lens"] += 1
    inputs["max_context_len"] += 1
    assert inputs["past_lens"][-1] == sequences[-1].num_computed_tokens
    if (inputs["past_lens"] % block_size).all():
        return {}
    return _block_tables([_span(share) for share in step.shares], block_size)


def _block_tables(spans: Iterable[Span], block_size: int) -> Inputs:
    tables = [s.block_table[: blocks_for(end, block_size)] for s, _, end in spans]
    return {
        "block_indices": _int32([block for table in tables for block in table]),
        "block_indices_begins": _int32(_begins(len(table) for table in tables)),
    }


def _span(share: Share) -> Span:
    """A sequence, the first position of it that the step computes, and the first it does not."""
    past = share.sequence.num_computed_tokens
    return share.sequence, past, past + share.num_tokens


def _begins(lengths: Iterable[int]) -> list[int]:
    """Where each of several pieces begins when they lie one after the other, and their end."""
    return [0, *accumulate(lengths)]


def _int64(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _int32(values: Iterable[int]) -> NDArray[np.int32]:
    return np.array(values, np.int32)
