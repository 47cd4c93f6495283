"""The one instruction that differs between kinds of processors: products of bytes, summed by four.

AVX-512 VNNI multiplies 64 unsigned bytes with 64 signed ones and adds each four products to one
of 16 sums. Other kinds come here: AVX-VNNI has it for 8 sums, ARM for 4 (usdot), plain AVX2
needs three instructions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from llmasos_builder.native.vectors import LANES, call, i8, vi

_BYTES = ir.VectorType(i8, 4 * LANES)


def dot(b: Any, sums: Any, unsigned: Any, signed: Any) -> Any:
    """sums + the sums of four products of unsigned and signed bytes."""
    name = "llvm.x86.avx512.vpdpbusd.512"
    return call(b, name, vi, sums, b.bitcast(unsigned, _BYTES), b.bitcast(signed, _BYTES))
