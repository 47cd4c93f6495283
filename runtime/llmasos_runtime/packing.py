"""Packs a step: the tokens of all sequences one after the other.

The packed inputs serve the runners whose attention reads a block table, and evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from llmasos.engine.engine_io import INPUT_IDS, POSITION_IDS
from numpy.typing import NDArray

from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.sequences.step import Share, Step

SAMPLED_POSITIONS = "sampled_positions"
"""The input that selects the tokens whose logits are wanted."""

ENCODER_PAST_LENS = "encoder_past_lens"
ENCODER_BLOCKS, ENCODER_BLOCKS_BEGINS = "encoder_block_indices", "encoder_block_indices_begins"
Ints = NDArray[np.int64] | NDArray[np.int32]
Inputs = dict[str, Ints]


class PackedRow(NamedTuple):
    """Neighbouring tokens of one sequence in a forward.

    past: its earlier tokens, which the KV cache holds. block_table: its blocks, at least as many as
    hold all of its tokens. num_wanted: number of last tokens whose logits are wanted.
    encoder_table: the blocks of its encoder's text, whose tokens are num_encoder_tokens.
    """

    token_ids: Sequence[int]
    past: int
    block_table: Sequence[int]
    num_wanted: int
    encoder_table: Sequence[int] = ()
    num_encoder_tokens: int = 0

    @property
    def end(self) -> int:
        """Number of tokens in the KV cache afterwards."""
        return self.past + len(self.token_ids)


def pack(step: Step, *, block_size: int) -> Inputs:
    """Returns the inputs of a step; draft tokens follow a sequence's own tokens. See
    `pack_rows`.
    """
    return pack_rows([_row(share) for share in step.shares], block_size=block_size)


def pack_rows(rows: Sequence[PackedRow], *, block_size: int) -> Inputs:
    """Returns the inputs of one forward, by name. B sequences, T tokens:

    input_ids, position_ids [T]; past_lens [B], the tokens already in the cache;
    subsequence_begins [B + 1], where each sequence's tokens begin among the T;
    block_indices, the block tables one after the other, each as long as its sequence needs;
    block_indices_begins [B + 1]; where the network has an encoder, encoder_past_lens [T], the
    tokens of each token's encoder but the last, and their blocks likewise; max_context_len [];
    sampled_positions [S], the tokens whose logits are wanted, at least one: the compiler is never
    asked for a forward over no row.

    T, for a prompt of 3 tokens (a) beside a decoding sequence (b) with 40 in the cache:

        input_ids           a0  a1  a2  b40
        position_ids         0   1   2   40
        subsequence_begins   0           3     4
        past_lens            0           40
    """
    begins = _begins(len(row.token_ids) for row in rows)
    sampled = [
        position
        for end, row in zip(begins[1:], rows, strict=True)
        for position in range(end - row.num_wanted, end)
    ]
    return {
        INPUT_IDS: _int64([token_id for row in rows for token_id in row.token_ids]),
        POSITION_IDS: _int64([place for row in rows for place in range(row.past, row.end)]),
        "past_lens": _int32([row.past for row in rows]),
        "subsequence_begins": _int32(begins),
        **_block_tables(rows, block_size),
        "max_context_len": np.array(max(row.end for row in rows), np.int32),
        **_encoder_inputs(rows),
        SAMPLED_POSITIONS: _int64(sampled or [0]),
    }


def advance(inputs: Inputs, step: Step, *, block_size: int) -> Inputs:
    """Advances the inputs of a step by one token each, in place: `step` is the next one.

    Both must be steps of the same sequences in the same order that compute one token of each, as
    most are: this costs a fraction of packing anew. Returns the inputs whose shape changed and
    which are therefore not in place: the block tables, when one grew.
    """
    sequences = [share.sequence for share in step.shares]
    inputs[INPUT_IDS][:] = [sequence.token_ids[-1] for sequence in sequences]
    inputs[POSITION_IDS] += 1
    inputs["past_lens"] += 1
    inputs["max_context_len"] += 1
    assert inputs["past_lens"][-1] == sequences[-1].num_computed_tokens
    if (inputs["past_lens"] % block_size).all():
        return {}
    return _block_tables([_row(share) for share in step.shares], block_size)


def _block_tables(rows: Iterable[PackedRow], block_size: int) -> Inputs:
    tables = [row.block_table[: blocks_for(row.end, block_size)] for row in rows]
    return {
        "block_indices": _int32([block for table in tables for block in table]),
        "block_indices_begins": _int32(_begins(len(table) for table in tables)),
    }


def _encoder_inputs(rows: Sequence[PackedRow]) -> Inputs:
    """What each token sees of its sequence's encoder; nothing for a network without one."""
    if not rows[0].encoder_table:
        return {}
    tokens = [row for row in rows for _ in row.token_ids]
    return {
        ENCODER_PAST_LENS: _int32([row.num_encoder_tokens - 1 for row in tokens]),
        ENCODER_BLOCKS: _int32([block for row in tokens for block in row.encoder_table]),
        ENCODER_BLOCKS_BEGINS: _int32(_begins(len(row.encoder_table) for row in tokens)),
    }


def _row(share: Share) -> PackedRow:
    sequence = share.sequence
    return PackedRow(
        token_ids=share.token_ids,
        past=sequence.num_computed_tokens,
        block_table=sequence.block_table,
        num_wanted=share.num_sampled,
        encoder_table=sequence.encoder_table,
        num_encoder_tokens=len(sequence.encoder_token_ids),
    )


def _begins(lengths: Iterable[int]) -> list[int]:
    """The begin of each piece when pieces lie one after the other, and the end of the last."""
    return [0, *accumulate(lengths)]


def _int64(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _int32(values: Iterable[int]) -> NDArray[np.int32]:
    return np.array(values, np.int32)
