"""The matrix kernel: some rows of activations times 32 rows of weights, in int8 or int4.

    out[m, n] (+)= sum over groups g of
                   act_scale[m, g] * weight_scale[n (, g)] * sum over k in g of w[n, k] * a[m, k]

Weights, 32 rows (the columns of the output) at a time, as two vectors of 16 columns:

    int8   w + 128, [N / 32][K / 4][2][16 columns][4 k]; f32 scales [N]
    int4   w + 8, two in a byte, [N / 32][K / 8][2][16 columns][4 k]: the low halves belong to
           the first four k and the high halves to the next; f32 scales [N / 32][K / 64][2][16]

Activations of a pass, one after the other in one piece of memory (M rows, G = K / 64):

    a      [M][K] signed bytes
    scale  [M][G] f32
    sum    [M][G] int32: -128 (-8 for int4) * the sum of the group, from which sums begin, since
           the weights are unsigned

`dot` multiplies 16 x 4 pairs of bytes and adds them to 16 sums. A tile has as many rows as the
registers hold sums of, in integers and in f32. Each sum has the same order in every tile, so that a
row's result depends on nothing but the row. While a tile computes it fetches a share of the next 32
rows of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.engine.native_engine import GROUP
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from llmasos_builder.native.dot import dot
from llmasos_builder.native.threads import emit_prefetch
from llmasos_builder.native.vectors import (
    LANES,
    at,
    call,
    f32,
    i8,
    i32,
    i64,
    native,
    nothing,
    splat,
    vf,
    vi,
)

ROWS_OF_TILE = {"avx512-vnni": 6, "avx-vnni": 4, "avx2": 4}
"""Most rows of a tile, whose sums stay in the registers of a kind of processor."""
_NUM_ARGUMENTS = 11
_VECTORS = 2
_STEPS = GROUP // 4
ZERO_POINTS = {8: 128, 4: 8}
"""What is added to a weight of so many bits to make it unsigned."""


class _Tile:
    """Emits one function: a tile of `rows` rows.

    Its arguments: a, sum, scale, w, w_scale, out, K, bytes of an output row, where to fetch
    from, in steps of how many bytes, whether to add to the output.
    """

    def __init__(self, module: Any, rows: int, bits: int, kind: str) -> None:
        self._bits, self._rows, self._kind = bits, rows, kind
        arguments = ir.FunctionType(ir.VoidType(), [i64] * _NUM_ARGUMENTS)
        self.function = ir.Function(module, arguments, f"tile_{bits}_{rows}")
        self.function.linkage = "linkonce_odr"
        self.function.attributes.add("noinline")
        self._places = [(m, r) for m in range(rows) for r in range(_VECTORS)]

    def emit(self) -> Any:
        """The function, with its body."""
        fn = self.function
        act, _, _, _, _, _, width, _, ahead, _, _ = fn.args
        entry, group, end = map(fn.append_basic_block, ("entry", "group", "end"))
        b = ir.IRBuilder(entry)
        groups = b.lshr(width, i64(6))
        rows = [b.add(act, b.mul(i64(m), width)) for m in range(self._rows)]
        offsets = [b.mul(i64(4 * m), groups) for m in range(self._rows)]
        b.branch(group)
        b.position_at_end(group)
        g, fetched = b.phi(i64), b.phi(i64)
        totals = {place: b.phi(vf) for place in self._places}
        for phi, value in ((g, i64(0)), (fetched, ahead), *((t, _ZEROS) for t in totals.values())):
            phi.add_incoming(value, entry)
        sums, fetched_next = self._products(b, g, rows, offsets, fetched)
        scaled = self._scaled(b, g, offsets, sums, totals)
        after = b.add(g, i64(1))
        for place in self._places:
            totals[place].add_incoming(scaled[place], group)
        g.add_incoming(after, group)
        fetched.add_incoming(fetched_next, group)
        b.cbranch(b.icmp_signed("<", after, groups), group, end)
        b.position_at_end(end)
        self._store(b, scaled)
        return fn

    def _products(
        self, b: Any, g: Any, rows: list[Any], offsets: list[Any], fetched: Any
    ) -> tuple[dict[tuple[int, int], Any], Any]:
        """Integer sums of one group, and where to go on fetching."""
        _, sums_at, _, w, _, _, _, _, _, ahead_step, _ = self.function.args
        sums: dict[tuple[int, int], Any] = {}
        for m in range(self._rows):
            start = b.add(b.add(sums_at, offsets[m]), b.shl(g, i64(2)))
            value = splat(b, b.load(at(b, start, i32), align=4), vi)
            sums |= {(m, r): value for r in range(_VECTORS)}
        group_bytes = _STEPS * _VECTORS * 64 * self._bits // 8
        weights_at = b.add(w, b.mul(g, i64(group_bytes)))
        acts = [b.add(row, b.shl(g, i64(6))) for row in rows]
        for step in range(0, _STEPS, 8 // self._bits):
            for sub, weights in enumerate(self._weights(b, weights_at, step)):
                for m in range(self._rows):
                    four = b.load(at(b, b.add(acts[m], i64(4 * (step + sub))), i32), align=4)
                    x = splat(b, four, vi)
                    for r in range(_VECTORS):
                        sums[m, r] = dot(b, self._kind, sums[m, r], weights[r], x, bits=self._bits)
            for line in range(_VECTORS):
                emit_prefetch(b, at(b, b.add(fetched, i64(64 * line)), i8))
            fetched = b.add(fetched, ahead_step)
        return sums, fetched

    def _weights(self, b: Any, where: Any, step: int) -> list[list[Any]]:
        """Two vectors of unsigned bytes for each four k; int4 has two fours in one load."""
        first = step * self._bits // 8 * _VECTORS
        loaded = [
            b.load(at(b, b.add(where, i64(64 * (first + r))), vi), align=64)
            for r in range(_VECTORS)
        ]
        if self._bits == 8:
            return [loaded]
        low, four = ir.Constant(vi, [0x0F0F0F0F] * LANES), ir.Constant(vi, [4] * LANES)
        return [[b.and_(v, low) for v in loaded], [b.and_(b.lshr(v, four), low) for v in loaded]]

    def _scaled(
        self, b: Any, g: Any, offsets: list[Any], sums: dict[tuple[int, int], Any], totals: Any
    ) -> dict[tuple[int, int], Any]:
        """The f32 totals after one group."""
        _, _, scale_at, _, w_scale, _, _, _, _, _, _ = self.function.args
        group_scale: list[Any] = []
        if self._bits == 4:
            start = b.add(w_scale, b.mul(g, i64(4 * _VECTORS * LANES)))
            group_scale = [
                b.load(at(b, b.add(start, i64(64 * r)), vf), align=64) for r in range(_VECTORS)
            ]
        scaled = {}
        for m in range(self._rows):
            start = b.add(b.add(scale_at, offsets[m]), b.shl(g, i64(2)))
            scale = splat(b, b.load(at(b, start, f32), align=4), vf)
            for r in range(_VECTORS):
                factor = b.fmul(scale, group_scale[r]) if self._bits == 4 else scale
                product = b.sitofp(sums[m, r], vf)
                scaled[m, r] = call(b, "llvm.fma.v16f32", vf, product, factor, totals[m, r])
        return scaled

    def _store(self, b: Any, scaled: dict[tuple[int, int], Any]) -> None:
        _, _, _, _, w_scale, out, _, ldo, _, _, add = self.function.args
        if self._bits == 8:
            scales = [
                b.load(at(b, b.add(w_scale, i64(64 * r)), vf), align=64) for r in range(_VECTORS)
            ]
            scaled = {(m, r): b.fmul(v, scales[r]) for (m, r), v in scaled.items()}
        where = {
            (m, r): at(b, b.add(b.add(out, i64(64 * r)), b.mul(i64(m), ldo)), vf)
            for m, r in self._places
        }
        with b.if_else(b.icmp_signed("!=", add, i64(0))) as (added, stored):
            with added:
                for place in self._places:
                    value = b.fadd(b.load(where[place], align=4), scaled[place])
                    b.store(value, where[place], align=4)
            with stored:
                for place in self._places:
                    b.store(scaled[place], where[place], align=4)
        b.ret_void()


_ZEROS = ir.Constant(vf, [0.0] * LANES)


def _tile(module: Any, rows: int, bits: int, kind: str) -> Any:
    return module.globals.get(f"tile_{bits}_{rows}") or _Tile(module, rows, bits, kind).emit()


def make_tile(bits: int, kind: str) -> Any:
    """tile(rows, arguments): 32 columns for some rows; arguments: a tuple, see `_Tile`."""

    def tile(_context: Any, _rows: Any, _arguments: Any) -> Any:
        def codegen(_context: Any, b: Any, _signature: Any, values: Any) -> Any:
            which, given = values
            given = [b.extract_value(given, index) for index in range(_NUM_ARGUMENTS)]
            after = b.append_basic_block("after")
            switch = b.switch(which, after)
            for count in range(1, ROWS_OF_TILE[kind] + 1):
                block = b.append_basic_block(f"rows{count}")
                switch.add_case(i64(count), block)
                b.position_at_end(block)
                b.call(_tile(b.module, count, bits, kind), given)
                b.branch(after)
            b.position_at_end(after)
            return nothing()

        return types.none(types.int64, types.UniTuple(types.int64, _NUM_ARGUMENTS)), codegen

    return intrinsic(tile)


def make_linear(bits: int, kind: str) -> Callable[..., Any]:
    """linear(act, width, rows, w, w_scale, low, high, out, ldo, add).

    Blocks low to high of a matrix for all rows; out: where block low goes, in f32; ldo: bytes of
    an output row. kind: of processor.
    """
    tile, most = make_tile(bits, kind), ROWS_OF_TILE[kind]

    @native
    def linear(
        act: int, width: int, rows: int, w: int, w_scale: int, low: int, high: int, out: int,
        ldo: int, add: int,
    ) -> None:  # fmt: skip
        groups = width // GROUP
        scales = act + rows * width
        sums = scales + 4 * rows * groups
        tiles = (rows + most - 1) // most
        size = width * 4 * bits
        scale_size = 128 if bits == 8 else 128 * groups
        share = (128 + tiles - 1) // tiles
        for n in range(low, high):
            m = 0
            for t in range(tiles):
                count = (rows - m + tiles - t - 1) // (tiles - t)
                tile(
                    count,
                    (
                        act + m * width, sums + 4 * m * groups, scales + 4 * m * groups,
                        w + n * size, w_scale + n * scale_size,
                        out + 128 * (n - low) + m * ldo, width, ldo,
                        w + (n + 1) * size + size // tiles * t, share, add,
                    ),
                )  # fmt: skip
                m += count

    return linear
