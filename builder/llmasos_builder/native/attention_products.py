"""The products of attention over one block of the cache (`llmasos.engine.native_engine.KVBlock`).

Both are emitted for as many heads of query as share one head of keys and values, so that each
vector of the cache is loaded once for some of them. Sums are in int32, of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from llmasos.engine.native_engine import BLOCK_SIZE, AttentionScratch, KVBlock
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from llmasos_builder.native.dot import dot
from llmasos_builder.native.vectors import (
    LANES,
    A,
    at,
    call,
    f32,
    i32,
    i64,
    nothing,
    splat,
    vf,
    vi,
)

_SCORED_HEADS = 8
_WEIGHTED_HEADS = 4
"""Heads at once: their sums stay in registers."""
_ZEROS = ir.Constant(vi, [0] * LANES)
_TOKEN_VECTORS = BLOCK_SIZE // LANES


def make_products(scratch: AttentionScratch, kind: str) -> tuple[Any, Any]:
    """score(block, queries, scores, bytes of a head's scores) and
    weigh(block, shares, outputs, 0); all addresses.
    """
    return (
        _called(lambda module: _emit_scores(module, scratch, kind)),
        _called(lambda module: _emit_outputs(module, scratch, kind)),
    )


def _called(emit: Callable[[Any], Any]) -> Any:
    def typed(_context: Any, _a: Any, _b: Any, _c: Any, _d: Any) -> Any:
        def codegen(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            builder.call(emit(builder.module), values)
            return nothing()

        return types.none(A, A, A, A), codegen

    return intrinsic(typed)


def _function(module: Any, name: str) -> tuple[Any, Any]:
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64] * 4), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def _parts(count: int, most: int) -> Iterator[range]:
    for begin in range(0, count, most):
        yield range(begin, min(begin + most, count))


def _word(b: Any, start: Any, offset: int, kind: Any) -> Any:
    """One number of 4 bytes, in all lanes."""
    word = b.load(at(b, b.add(start, i64(offset)), kind), align=4)
    return splat(b, word, ir.VectorType(kind, LANES))


def _emit_scores(module: Any, scratch: AttentionScratch, cpu: str) -> Any:
    """scores[head][32] = query . key: scale * (scale of key * sum of bytes) + sum * offset."""
    name = f"scores_{scratch.head}_{scratch.query_heads}"
    if name in module.globals:
        return module.globals[name]
    function, b = _function(module, name)
    block, queries, scores, step = function.args
    layout = KVBlock(scratch.head)

    def of_tokens(offset: int, r: int, kind: Any) -> Any:
        return b.load(at(b, b.add(block, i64(offset + 64 * r)), kind), align=64)

    for heads in _parts(scratch.query_heads, _SCORED_HEADS):
        sums = {(h, r): _ZEROS for h in heads for r in range(_TOKEN_VECTORS)}
        for quad in range(scratch.head // 4):
            keys = [of_tokens(128 * quad, r, vi) for r in range(_TOKEN_VECTORS)]
            for h in heads:
                x = _word(b, queries, scratch.query_bytes * h + 4 * quad, i32)
                for r in range(_TOKEN_VECTORS):
                    sums[h, r] = dot(b, cpu, sums[h, r], keys[r], x)
        for (h, r), value in sums.items():
            end = scratch.query_bytes * h + scratch.head
            scaled_sum, scale = (_word(b, queries, end + 4 * n, f32) for n in range(2))
            offset = b.fmul(of_tokens(layout.key_offsets, r, vf), scaled_sum)
            product = b.fmul(b.sitofp(value, vf), of_tokens(layout.key_scales, r, vf))
            score = call(b, "llvm.fma.v16f32", vf, product, scale, offset)
            where = b.add(b.add(scores, b.mul(step, i64(h))), i64(64 * r))
            b.store(score, at(b, where, vf), align=4)
    b.ret_void()
    return function


def _emit_outputs(module: Any, scratch: AttentionScratch, cpu: str) -> Any:
    """outputs[head][64 dimensions at a time] += share . value over the block's 32 tokens."""
    name = f"outputs_{scratch.head}_{scratch.query_heads}"
    if name in module.globals:
        return module.globals[name]
    function, b = _function(module, name)
    block, shares, outputs, _ = function.args
    layout = KVBlock(scratch.head)
    for heads in _parts(scratch.query_heads, _WEIGHTED_HEADS):
        for vectors in _parts(scratch.head // LANES, 4):
            sums = {(h, r): _ZEROS for h in heads for r in vectors}
            for quad in range(BLOCK_SIZE // 4):
                start = layout.values + 4 * scratch.head * quad
                values = {
                    r: b.load(at(b, b.add(block, i64(start + 64 * r)), vi), align=64)
                    for r in vectors
                }
                for h in heads:
                    share = _word(b, shares, 64 * h + 4 * quad, i32)
                    for r in vectors:
                        sums[h, r] = dot(b, cpu, sums[h, r], share, values[r])
            for (h, r), value in sums.items():
                where = at(b, b.add(outputs, i64(4 * scratch.head * h + 64 * r)), vf)
                scale, before = _word(b, shares, 64 * h + 32, f32), b.load(where, align=4)
                total = call(b, "llvm.fma.v16f32", vf, b.sitofp(value, vf), scale, before)
                b.store(total, where, align=4)
    b.ret_void()
    return function
