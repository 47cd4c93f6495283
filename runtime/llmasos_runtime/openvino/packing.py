"""A step as the packed inputs of paged attention."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from llmasos_runtime.blocks import blocks_for
from llmasos_runtime.step import Step

SAMPLED_POSITIONS = "sampled_positions"
"""The input that says which tokens' logits are wanted."""

Inputs = dict[str, NDArray[np.int64] | NDArray[np.int32]]


def pack(step: Step, *, block_size: int) -> Inputs:
    """The inputs of one forward, by name. B sequences, T tokens:

    input_ids, position_ids [T]; past_lens [B], the tokens already in the cache;
    subsequence_begins [B + 1], where each sequence's tokens begin among the T;
    block_indices, the block tables one after the other, each as long as its sequence needs;
    block_indices_begins [B + 1]; max_context_len []; sampled_positions [S], the tokens whose
    logits are wanted. There is always at least one of the last: a forward over no row is
    not asked of the compiler.

    T, for a prompt of 3 tokens (a) beside a decoding sequence (b) with 40 in the cache:

        input_ids           a0  a1  a2  b40
        position_ids         0   1   2   40
        subsequence_begins   0           3     4
        past_lens            0           40
    """
    token_ids: list[int] = []
    positions: list[int] = []
    past_lens: list[int] = []
    begins = [0]
    blocks: list[int] = []
    block_begins = [0]
    sampled: list[int] = []
    max_context_len = 0
    for share in step.shares:
        sequence = share.sequence
        past = sequence.num_computed_tokens
        context_len = past + share.num_tokens
        token_ids += sequence.token_ids[past:context_len]
        positions += range(past, context_len)
        past_lens.append(past)
        begins.append(len(token_ids))
        blocks += sequence.block_table[: blocks_for(context_len, block_size)]
        block_begins.append(len(blocks))
        max_context_len = max(max_context_len, context_len)
        if share.is_sampled:
            sampled.append(len(token_ids) - 1)
    return {
        "input_ids": _int64(token_ids),
        "position_ids": _int64(positions),
        "past_lens": _int32(past_lens),
        "subsequence_begins": _int32(begins),
        "block_indices": _int32(blocks),
        "block_indices_begins": _int32(block_begins),
        "max_context_len": np.array(max_context_len, np.int32),
        SAMPLED_POSITIONS: _int64(sampled or [0]),
    }


def _int64(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _int32(values: Iterable[int]) -> NDArray[np.int32]:
    return np.array(values, np.int32)
