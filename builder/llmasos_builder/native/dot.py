"""Products of bytes, summed by four: what differs between kinds of processors.

A vector here is of 16 sums, whatever the processor has; LLVM cuts it into what there is.

avx512-vnni  vpdpbusd on 512 bits: 64 products and their sums in one instruction.
avx-vnni     the same on 256 bits, twice.
avx2         no instruction sums four products without a limit: vpmaddubsw keeps sums of two in 16
             bits, which two products of 255 * 127 exceed. So even and odd bytes become numbers of
             16 bits, and vpmaddwd multiplies and adds pairs of those in 32 bits, twice. Weights of
             4 bits cannot exceed 16 bits, and take vpmaddubsw.

All give the same sums, since they are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from llmasos_builder.native.vectors import LANES, call, i8, i32, vi

_HALF = LANES // 2
_i16 = ir.IntType(16)
_BYTES, _SHORTS, _SUMS = (ir.VectorType(kind, 32 * _HALF // kind.width) for kind in (i8, _i16, i32))
_ALL_BYTES = ir.VectorType(i8, 4 * LANES)


def dot(b: Any, kind: str, sums: Any, unsigned: Any, signed: Any, *, bits: int = 8) -> Any:
    """sums + the sums of four products of unsigned and signed bytes.

    kind: of processor. bits: of the unsigned numbers.
    """
    if kind == "avx512-vnni":
        name = "llvm.x86.avx512.vpdpbusd.512"
        return call(
            b, name, vi, sums, b.bitcast(unsigned, _ALL_BYTES), b.bitcast(signed, _ALL_BYTES)
        )
    of_half = _OF_HALF[kind, bits] if (kind, bits) in _OF_HALF else _OF_HALF[kind, 8]
    parts = [
        of_half(b, *(_half(b, vector, which) for vector in (sums, unsigned, signed)))
        for which in range(2)
    ]
    return b.shuffle_vector(*parts, _numbers(range(LANES)))


def _vnni(b: Any, sums: Any, unsigned: Any, signed: Any) -> Any:
    name = "llvm.x86.avx512.vpdpbusd.256"
    return call(b, name, _SUMS, sums, b.bitcast(unsigned, _BYTES), b.bitcast(signed, _BYTES))


def _by_shorts(b: Any, sums: Any, unsigned: Any, signed: Any) -> Any:
    u, s = b.bitcast(unsigned, _SHORTS), b.bitcast(signed, _SHORTS)
    eight = _splat(_SHORTS, 8)
    evens = _pairs(b, b.and_(u, _splat(_SHORTS, 0xFF)), b.ashr(b.shl(s, eight), eight))
    odds = _pairs(b, b.lshr(u, eight), b.ashr(s, eight))
    return b.add(b.add(sums, evens), odds)


def _by_bytes(b: Any, sums: Any, unsigned: Any, signed: Any) -> Any:
    name = "llvm.x86.avx2.pmadd.ub.sw"
    twos = call(b, name, _SHORTS, b.bitcast(unsigned, _BYTES), b.bitcast(signed, _BYTES))
    return b.add(sums, _pairs(b, twos, _splat(_SHORTS, 1)))


def _pairs(b: Any, left: Any, right: Any) -> Any:
    return call(b, "llvm.x86.avx2.pmadd.wd", _SUMS, left, right)


def _half(b: Any, vector: Any, which: int) -> Any:
    places = _numbers(range(_HALF * which, _HALF * (which + 1)))
    return b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _numbers(values: range) -> Any:
    return ir.Constant(ir.VectorType(i32, len(values)), list(values))


def _splat(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


_OF_HALF: dict[tuple[str, int], Callable[..., Any]] = {
    ("avx-vnni", 8): _vnni,
    ("avx2", 8): _by_shorts,
    ("avx2", 4): _by_bytes,
}
