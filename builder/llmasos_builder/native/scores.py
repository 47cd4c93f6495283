"""Scores of one token and the heads that share one of the keys, over its blocks of the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.engine.native_engine import BLOCK_SIZE, AttentionScratch, KVBlock
from llmasos.engine.native_engine import LayerField as L
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.rows import LOG2E, make_soft_cap
from llmasos_builder.native.threads import prefetch
from llmasos_builder.native.vectors import (
    A,
    N,
    S,
    first,
    fma,
    hmaxF,
    ldF,
    ldF1,
    ldI,
    ldi,
    low32,
    maxF,
    native,
    setF,
    setI,
    stF,
    stf,
    toF,
)


@native
def fetch(start: int, size: int) -> None:
    for j in range(0, size, 64):
        prefetch(start + j)


def make_score_blocks(scratch: AttentionScratch, score: Any) -> Callable[..., Any]:
    layout, scores = KVBlock(scratch.head), scratch.scores
    block_bytes, key_bytes = layout.num_bytes, layout.values

    @native
    def score_blocks(
        base: int, stride: int, table: int, start: int, blocks: int, memory: int, ahead: Any
    ) -> None:
        """Scores of the blocks from `start` on; base: of block 0 of this head, stride: of each."""
        for b in range(start, blocks):
            if b < ahead[0]:
                fetch(ahead[2] + A(ldi(ahead[1] + 4 * b)) * stride, key_bytes)
            block = base + A(ldi(table + 4 * b)) * stride
            score(block, memory, memory + scores + 4 * BLOCK_SIZE * b, 4 * BLOCK_SIZE * blocks)

    assert block_bytes > key_bytes
    return score_blocks


@native
def _leave(
    _c: Any, _layer: Any, _memory: int, _start: int, _blocks: int, _position: int, _kv_head: int
) -> None:
    """Leaves scores as they are."""


def make_adjust(
    scratch: AttentionScratch, *, cap: float | None, slopes: bool
) -> Callable[..., Any]:
    """adjust(c, layer, memory, start, blocks, position, head of keys): the soft cap and ALiBi of
    all scores of one token, which are exponents of 2; nothing where there is neither.
    """
    if cap is None and not slopes:
        return _leave
    heads, step, scores = scratch.query_heads, 4 * BLOCK_SIZE, scratch.scores
    soft_cap = make_soft_cap(None if cap is None else cap * LOG2E)

    @native
    def adjust(
        c: Any, layer: Any, memory: int, start: int, blocks: int, position: int, kv_head: int
    ) -> None:
        lanes = ldI(c[C.LANES])
        for h in range(heads):
            slope = setF(S(0.0))
            if slopes:
                slope = ldF1(layer[L.SLOPES] + 4 * (kv_head * heads + h)) * setF(S(-LOG2E))
            for b in range(start, blocks):
                for j in range(2):
                    place = memory + scores + step * (blocks * h + b) + 64 * j
                    v = soft_cap(ldF(place))
                    if slopes:
                        begin = low32(A(position - BLOCK_SIZE * b - 16 * j))
                        v = fma(slope, toF(setI(begin) - lanes), v)
                    stF(place, v)

    return adjust


def make_find_most(scratch: AttentionScratch) -> Callable[..., Any]:
    heads, head, step = scratch.query_heads, scratch.head, 4 * BLOCK_SIZE
    scores, most, totals = scratch.scores, scratch.most, scratch.totals
    outputs = scratch.outputs

    @native
    def find_most(memory: int, start: int, blocks: int, hidden: Any, inside: Any) -> None:
        """The largest score of each head; and sums begin at zero.

        hidden: tokens of the first block that are before the window. inside: tokens of the last
        block that may be seen.
        """
        nothing, low = setF(S(0.0)), setF(S(-1e30))
        for h in range(heads):
            begin = memory + scores + step * (blocks * h + start)
            last = begin + step * (blocks - 1 - start)
            stF(begin, first(low, hidden, ldF(begin)))
            stF(begin + 64, first(low, N(hidden - 16), ldF(begin + 64)))
            stF(last, first(ldF(last), inside, low))
            stF(last + 64, first(ldF(last + 64), N(inside - 16), low))
            m0, m1 = ldF(begin), ldF(begin + 64)
            for b in range(step, step * (blocks - start), step):
                m0, m1 = maxF(m0, ldF(begin + b)), maxF(m1, ldF(begin + b + 64))
            stf(memory + most + 4 * h, hmaxF(maxF(m0, m1)))
            stF(memory + totals + 64 * h, nothing)
            for j in range(0, 4 * head, 64):
                stF(memory + outputs + 4 * head * h + j, nothing)

    return find_most
