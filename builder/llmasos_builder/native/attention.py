"""Attention of one sequence and one head of keys and values, over its blocks of the cache.

The tokens of the step are written into the cache first; then each is attended by itself, with
all heads of query that share the keys. Scores of all its blocks come first, for the largest of
them; then the probabilities of a block are quantized with one scale, and weigh its values. So
what a token gets depends on its position and the cache alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.engine.native_engine import BLOCK_SIZE, AttentionScratch, KVBlock
from llmasos.engine.native_engine import LayerField as L
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.attention_products import make_products
from llmasos_builder.native.cached_heads import make_pack_query, make_rotate, make_write_cache
from llmasos_builder.native.rows import LOG2E, exp2, quantize_group
from llmasos_builder.native.scores import (
    fetch,
    make_adjust,
    make_find_most,
    make_score_blocks,
)
from llmasos_builder.native.vectors import (
    A,
    N,
    S,
    bits_as_f,
    first,
    high,
    hmaxF,
    hsumF,
    ldF,
    ldF1,
    ldi,
    maxF,
    native,
    rintF,
    setF,
    setI,
    stF,
    stf,
    stI,
    toI,
)


def _make_share_block(scratch: AttentionScratch) -> Callable[..., Any]:
    heads, step = scratch.query_heads, 4 * BLOCK_SIZE
    scores, most, totals = scratch.scores, scratch.most, scratch.totals
    shares, value_scales = scratch.shares, KVBlock(scratch.head).value_scales

    @native
    def share_block(
        memory: int, block: int, b: int, start: int, blocks: int, hidden: Any, inside: Any
    ) -> None:
        """Probabilities of one block times its values' scales, as unsigned bytes."""
        floor, nothing = setF(S(-126.0)), setF(S(0.0))
        v0, v1 = ldF(block + value_scales), ldF(block + value_scales + 64)
        if b == start:
            v0, v1 = first(nothing, hidden, v0), first(nothing, N(hidden - 16), v1)
        if b == blocks - 1:  # tokens to come weigh nothing, whatever is there in their place
            v0, v1 = first(v0, inside, nothing), first(v1, N(inside - 16), nothing)
        for h in range(heads):
            place = memory + scores + step * (blocks * h + b)
            peak = ldF1(memory + most + 4 * h)
            e0 = exp2(maxF(ldF(place) - peak, floor))
            e1 = exp2(maxF(ldF(place + 64) - peak, floor))
            total = memory + totals + 64 * h
            stF(total, ldF(total) + (e0 + e1))
            e0, e1 = e0 * v0, e1 * v1
            top = max(hmaxF(maxF(e0, e1)), S(1e-30))
            r = setF(S(255.0) / top)
            pair = toI(rintF(e0 * r)) | (toI(rintF(e1 * r)) << setI(N(8)))
            stI(memory + shares + 64 * h, pair | (high(pair) << setI(N(16))))
            stf(memory + shares + 64 * h + 32, top / S(255.0))

    return share_block


def _make_finish_row(scratch: AttentionScratch, zero: int) -> Callable[..., Any]:
    heads, head = scratch.query_heads, scratch.head
    outputs, totals = scratch.outputs, scratch.totals
    groups = head // 64

    @native
    def finish_row(c: Any, memory: int, row: int, kv_head: int) -> None:
        """What the values add up to, over the sum of probabilities, quantized into ATTN."""
        width = c[C.HEADS] * head
        for h in range(heads):
            r = setF(S(1.0) / hsumF(ldF(memory + totals + 64 * h)))
            for j in range(groups):
                p = memory + outputs + 4 * head * h + 256 * j
                g = (kv_head * heads + h) * groups + j
                v0, v1, v2, v3 = ldF(p) * r, ldF(p + 64) * r, ldF(p + 128) * r, ldF(p + 192) * r
                quantize_group(v0, v1, v2, v3, c[C.ATTN], width, c[C.ROWS], row, g, A(zero))

    return finish_row


def _make_attend_row(
    scratch: AttentionScratch,
    zero: int,
    rotate: Callable[..., Any],
    adjust: Callable[..., Any],
    kind: str,
) -> Callable[..., Any]:
    heads, head, query_bytes = scratch.query_heads, scratch.head, scratch.query_bytes
    rotated, block_bytes = scratch.rotated, KVBlock(scratch.head).num_bytes
    values_at = KVBlock(scratch.head).values
    score, weigh = make_products(scratch, kind)
    pack_query = make_pack_query(head)
    score_blocks, find_most = make_score_blocks(scratch, score), make_find_most(scratch)
    share_block, finish_row = _make_share_block(scratch), _make_finish_row(scratch, zero)
    shares, outputs = scratch.shares, scratch.outputs

    @native
    def attend_row(
        c: Any, layer: Any, row: int, kv_head: int, base: int, table: int, memory: int, ahead: Any
    ) -> None:
        position = A(ldi(c[C.POSITIONS] + 4 * row))
        stride = c[C.KV_HEADS] * block_bytes
        wide = 4 * head * (c[C.HEADS] + 2 * c[C.KV_HEADS])
        query = c[C.QKV] + row * wide + 4 * head * kv_head * heads
        rope = layer[L.ROPE] + 4 * head * position
        scale = bits_as_f(layer[L.SCORE_SCALE]) * S(LOG2E)
        for h in range(heads):
            rotate(c, query + 4 * head * h, layer[L.QUERY_NORM], rope, scale, memory + rotated)
            pack_query(memory + rotated, memory + query_bytes * h)
        blocks, inside = position // BLOCK_SIZE + 1, N(position % BLOCK_SIZE + 1)
        begin = A(0) if layer[L.WINDOW] == 0 else max(A(0), position + 1 - layer[L.WINDOW])
        start, hidden = begin // BLOCK_SIZE, N(begin % BLOCK_SIZE)
        score_blocks(base, stride, table, start, blocks, memory, ahead)
        adjust(c, layer, memory, start, blocks, position, kv_head)
        find_most(memory, start, blocks, hidden, inside)
        for b in range(start, blocks):
            if b < ahead[0]:
                fetched = ahead[2] + A(ldi(ahead[1] + 4 * b)) * stride + values_at
                fetch(fetched, block_bytes - values_at)
            block = base + A(ldi(table + 4 * b)) * stride
            share_block(memory, block, b, start, blocks, hidden, inside)
            weigh(block, memory + shares, memory + outputs, A(0))
        finish_row(c, memory, row, kv_head)

    return attend_row


def _make_look_ahead(block_bytes: int) -> Callable[..., Any]:
    @native
    def look_ahead(c: Any, base: int, kv_head: int, item: int) -> Any:
        """What this thread attends next, and fetches meanwhile: of how many blocks, whose table,
        and where block 0 of its head is.
        """
        kv_heads = c[C.KV_HEADS]
        if item >= c[C.SEQS] * kv_heads:
            return A(0), A(0), A(0)
        seq = item // kv_heads
        first_row = A(ldi(c[C.SEQ_START] + 4 * seq))
        blocks = A(ldi(c[C.POSITIONS] + 4 * first_row)) // BLOCK_SIZE + 1
        table = c[C.TABLES] + 4 * c[C.MAX_BLOCKS] * seq
        return A(blocks), table, base + (item % kv_heads - kv_head) * block_bytes

    return look_ahead


def make_attend(
    scratch: AttentionScratch,
    zero: int,
    kind: str,
    *,
    cap: float | None = None,
    slopes: bool = False,
) -> Callable[..., Any]:
    """attend(c, layer, index, item, ahead, memory).

    layer: its row of the layer table; index: which it is. item: a sequence and a head of keys;
    ahead: the one that comes next. zero: of the weights that ATTN is multiplied with. kind: of
    processor. cap, slopes: what is done to scores (`AttentionScores`).
    """
    head, block_bytes = scratch.head, KVBlock(scratch.head).num_bytes
    rotate = make_rotate(head)
    write_cache, look_ahead = make_write_cache(scratch, rotate), _make_look_ahead(block_bytes)
    adjust = make_adjust(scratch, cap=cap, slopes=slopes)
    attend_row = _make_attend_row(scratch, zero, rotate, adjust, kind)

    @native
    def attend(c: Any, layer: Any, index: int, item: int, ahead: int, memory: int) -> None:
        heads, kv_heads = c[C.HEADS], c[C.KV_HEADS]
        seq, kv_head = item // kv_heads, item % kv_heads
        begin, end = A(ldi(c[C.SEQ_START] + 4 * seq)), A(ldi(c[C.SEQ_START] + 4 * seq + 4))
        table = c[C.TABLES] + 4 * c[C.MAX_BLOCKS] * seq
        base = c[C.KV] + (index * c[C.KV_BLOCKS] * kv_heads + kv_head) * block_bytes
        for row in range(begin, end):
            position = A(ldi(c[C.POSITIONS] + 4 * row))
            key = c[C.QKV] + 4 * head * (row * (heads + 2 * kv_heads) + heads + kv_head)
            rope = layer[L.ROPE] + 4 * head * position
            block = base + A(ldi(table + 4 * (position // BLOCK_SIZE))) * kv_heads * block_bytes
            write_cache(
                c, key, key + 4 * head * kv_heads, layer[L.KEY_NORM], rope, block,
                position % BLOCK_SIZE, memory,
            )  # fmt: skip
        next_one = look_ahead(c, base, kv_head, ahead)
        for row in range(begin, end):
            attend_row(c, layer, row, kv_head, base, table, memory, next_one)
            next_one = (A(0), A(0), A(0))

    return attend
