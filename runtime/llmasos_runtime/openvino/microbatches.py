"""Splits a packed step into microbatches for a network that takes rows of equal length.

Sequences that compute one token are rows of one microbatch, or of several if their pasts are
long. Each prompt is a microbatch of its own, or several if it is long, which bounds the memory
of scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from llmasos.engine.engine_io import ATTENTION_MASK, INPUT_IDS, POSITION_IDS
from numpy.typing import NDArray

from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.openvino.block_gather_model import BLOCK_TABLE, GATHERED_TOKENS
from llmasos_runtime.packing import (
    ENCODER_BLOCKS,
    ENCODER_BLOCKS_BEGINS,
    ENCODER_PAST_LENS,
    SAMPLED_POSITIONS,
    Inputs,
)

MAX_MICROBATCH_LENGTH = 256
"""The most tokens of a prompt in one microbatch."""
_MAX_GROUPED_LENGTH = 4
"""The beginnings of decoders that attend to an encoder are short, and share a microbatch with
others of their length.
"""
MAX_MICROBATCH_SCORES = 1 << 19
"""The most scores of one head in a microbatch; tokens with a long past come in smaller ones."""
MAX_GATHERED_TOKENS = 16384
"""Most cached tokens gathered by one microbatch; a longer sequence runs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Microbatch:
    """B rows of S tokens.

    inputs: by name. input_ids, position_ids [B, S]; block_table [B, M], the parts of blocks that
    hold each row's past, padded with some of its own; attention_mask
    [B, M * GATHERED_TOKENS + S], the validity of the tokens in those parts, and then of the new
    ones; what `packing` says of encoders, for these tokens; sampled_positions [n], the positions
    among the B * S tokens whose logits are wanted, or one dummy.
    blocks, offsets: [B, S], where the tokens' keys and values go in the KV cache.
    rows: [n], the rows of the wanted logits among all logits of the step.
    """

    inputs: Inputs
    blocks: NDArray[np.int64]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]


class _Piece(NamedTuple):
    """Neighbouring tokens of a sequence: the index of the first one in the step, and their number.

    past: tokens of the sequence in the cache by then. table: its blocks.
    """

    begin: int
    length: int
    past: int
    table: NDArray[np.int64]


def microbatches(inputs: Inputs, *, block_size: int) -> list[Microbatch]:
    """Splits the packed inputs of a step (`packing.pack`), in the order in which they must run."""
    pieces = list(_pieces(inputs))
    grouped = _MAX_GROUPED_LENGTH if ENCODER_PAST_LENS in inputs else 1
    groups = [[piece] for piece in pieces if piece.length > grouped]
    for length in range(grouped, 0, -1):
        groups += _parted([piece for piece in pieces if piece.length == length])
    return [_microbatch(group, inputs, block_size) for group in groups]


def _pieces(inputs: Inputs) -> Iterator[_Piece]:
    blocks = inputs["block_indices"].astype(np.int64)
    spans = pairwise(inputs["subsequence_begins"].tolist())
    tables = pairwise(inputs["block_indices_begins"].tolist())
    for past, span, (first, last) in zip(inputs["past_lens"].tolist(), spans, tables, strict=True):
        yield from _cut(*span, past, blocks[first:last])


def _cut(begin: int, end: int, past: int, table: NDArray[np.int64]) -> Iterator[_Piece]:
    while begin < end:
        length = min(end - begin, _longest(past))
        yield _Piece(begin, length, past, table)
        begin, past = begin + length, past + length


def _longest(past: int) -> int:
    """The most tokens of one microbatch of a prompt, fewer if scores over a long past would be
    large.

    At least 2, since single tokens share a microbatch with other sequences.
    """
    length = MAX_MICROBATCH_LENGTH
    while length >= 4 and length * (past + length) > MAX_MICROBATCH_SCORES:
        length //= 2
    return length


def _parted(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Groups pieces so that no group gathers too much; pasts of similar length go together."""
    if not pieces:
        return []
    if len(pieces) == 1 or len(pieces) * max(p.past for p in pieces) <= MAX_GATHERED_TOKENS:
        return [pieces]
    by_length = sorted(pieces, key=lambda piece: piece.past)
    middle = len(pieces) // 2
    return _parted(by_length[:middle]) + _parted(by_length[middle:])


def _microbatch(pieces: list[_Piece], inputs: Inputs, block_size: int) -> Microbatch:
    length = pieces[0].length
    past = np.array([[piece.past] for piece in pieces])
    tokens = np.array([[piece.begin] for piece in pieces]) + np.arange(length)
    positions = past + np.arange(length)
    part_size = min(GATHERED_TOKENS, block_size)
    num_parts = _rounded(blocks_for(int(past.max()), part_size))
    tables = [_parts(p.table, num_parts, block_size // part_size) for p in pieces]
    is_past = np.arange(num_parts * part_size) < past
    is_there = np.concatenate([is_past, np.ones_like(tokens, np.bool_)], axis=1)
    sampled = inputs[SAMPLED_POSITIONS][:, None]
    rows, places = np.nonzero(sampled == tokens.reshape(-1))
    return Microbatch(
        inputs={
            INPUT_IDS: inputs[INPUT_IDS][tokens],
            POSITION_IDS: positions,
            ATTENTION_MASK: is_there.astype(np.int64),
            BLOCK_TABLE: np.stack(tables),
            **_encoder_inputs(tokens.reshape(-1), inputs),
            SAMPLED_POSITIONS: places if places.size else np.zeros(1, np.int64),
        },
        blocks=np.stack(
            [p.table[own // block_size] for p, own in zip(pieces, positions, strict=True)]
        ),
        offsets=positions % block_size,
        rows=rows,
    )


def _parts(table: NDArray[np.int64], count: int, parts_each: int) -> NDArray[np.int64]:
    """The first parts of a sequence's blocks; behind the last block comes that one again."""
    place = np.arange(count)
    block: NDArray[np.int64] = table[np.minimum(place // parts_each, len(table) - 1)]
    return block * parts_each + place % parts_each


def _encoder_inputs(tokens: NDArray[np.int64], inputs: Inputs) -> Inputs:
    """What these tokens of the step see of their encoders."""
    if ENCODER_PAST_LENS not in inputs:
        return {}
    begins = inputs[ENCODER_BLOCKS_BEGINS]
    blocks = inputs[ENCODER_BLOCKS].astype(np.int32)
    tables = [blocks[begins[token] : begins[token + 1]] for token in tokens]
    ends = np.cumsum([0, *map(len, tables)])
    return {
        ENCODER_PAST_LENS: inputs[ENCODER_PAST_LENS][tokens].astype(np.int32),
        ENCODER_BLOCKS: np.concatenate(tables),
        ENCODER_BLOCKS_BEGINS: ends.astype(np.int32),
    }


def _rounded(count: int) -> int:
    """Rounds up by at most a quarter: OpenVINO keeps kernels and memory for each size."""
    step = 1 << max(0, count.bit_length() - 3)
    return max(1, -(-count // step) * step)
