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
from llmasos_runtime.openvino.block_gather_model import BLOCK_TABLE
from llmasos_runtime.packing import SAMPLED_POSITIONS, Inputs

MAX_MICROBATCH_LENGTH = 256
"""The most tokens of a prompt in one microbatch."""
MAX_MICROBATCH_SCORES = 1 << 19
"""The most scores of one head in a microbatch; tokens with a long past come in smaller ones."""
MAX_GATHERED_TOKENS = 16384
"""Most cached tokens gathered by one microbatch; a longer sequence runs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Microbatch:
    """B rows of S tokens.

    inputs: by name. input_ids, position_ids [B, S]; block_table [B, M], the blocks of each row's
    past, padded with one of its own; attention_mask [B, M * block_size + S], the validity of the
    tokens in those blocks, and then of the new ones; sampled_positions [n], the positions among the
    B * S tokens whose logits are wanted, or one dummy.
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
    single = [piece for piece in pieces if piece.length == 1]
    groups = [[piece] for piece in pieces if piece.length > 1] + _parted(single)
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
    num_blocks = _rounded(blocks_for(int(past.max()), block_size))
    tables = [p.table[np.minimum(np.arange(num_blocks), len(p.table) - 1)] for p in pieces]
    is_past = np.arange(num_blocks * block_size) < past
    is_there = np.concatenate([is_past, np.ones_like(tokens, np.bool_)], axis=1)
    sampled = inputs[SAMPLED_POSITIONS][:, None]
    rows, places = np.nonzero(sampled == tokens.reshape(-1))
    return Microbatch(
        inputs={
            INPUT_IDS: inputs[INPUT_IDS][tokens],
            POSITION_IDS: positions,
            ATTENTION_MASK: is_there.astype(np.int64),
            BLOCK_TABLE: np.stack(tables),
            SAMPLED_POSITIONS: places if places.size else np.zeros(1, np.int64),
        },
        blocks=np.stack(
            [p.table[own // block_size] for p, own in zip(pieces, positions, strict=True)]
        ),
        offsets=positions % block_size,
        rows=rows,
    )


def _rounded(num_blocks: int) -> int:
    """Rounds up by at most a quarter: OpenVINO keeps kernels and memory for each size."""
    step = 1 << max(0, num_blocks.bit_length() - 3)
    return max(1, -(-num_blocks // step) * step)
