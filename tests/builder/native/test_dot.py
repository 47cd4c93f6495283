"""Sums of four products of bytes are exact, at the ends of their ranges too, on every kind."""

from __future__ import annotations

from typing import Any

import needs_native  # noqa: F401
import numpy as np
import pytest
from llmasos.engine.cpu_kind import cpu_flags
from llmasos.engine.native_engine import CPU_KINDS
from llmasos_builder.native.dot import dot
from llmasos_builder.native.vectors import A, at, i64, native, nothing, vi
from llvmlite import binding, ir
from native_kernels import aligned, callable_from_python
from numba.extending import intrinsic

RUNNABLE = [n for n, kind in CPU_KINDS.items() if cpu_flags().issuperset(kind.flags)]


def kernel(kind: str, bits: int) -> Any:
    """add(sums, unsigned, signed): addresses of 16 sums and of 64 bytes each."""

    def typed(_context: Any, _sums: Any, _unsigned: Any, _signed: Any) -> Any:
        def codegen(_context: Any, b: Any, _signature: Any, values: Any) -> Any:
            sums, unsigned, signed = (b.load(at(b, v, vi), align=4) for v in values)
            b.store(dot(b, kind, sums, unsigned, signed, bits=bits), at(b, values[0], vi), align=4)
            return nothing()

        from numba import types

        return types.none(A, A, A), codegen

    add = intrinsic(typed)

    @native
    def run(sums: int, unsigned: int, signed: int) -> None:
        add(sums, unsigned, signed)

    return callable_from_python(run, 3)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", RUNNABLE)
def test_sums_are_exact(kind: str, bits: int) -> None:
    run, most = kernel(kind, bits), 2**bits - 1
    rng = np.random.default_rng(bits)
    ends = [(u, s) for u in (0, most) for s in (-128, -127, 127)]
    pairs = [(np.full(64, u), np.full(64, s)) for u, s in ends]
    pairs += [(rng.integers(0, most + 1, 64), rng.integers(-128, 128, 64)) for _ in range(50)]
    for unsigned, signed in pairs:
        before = rng.integers(-(10**6), 10**6, 16)
        sums = aligned(before.astype(np.int32))
        u, s = aligned(unsigned.astype(np.uint8)), aligned(signed.astype(np.int8))
        run(sums.ctypes.data, u.ctypes.data, s.ctypes.data)
        assert sums.tolist() == (before + (unsigned * signed).reshape(16, 4).sum(axis=1)).tolist()


@pytest.mark.parametrize(
    ("kind", "bits", "instruction", "count"),
    [
        ("avx512-vnni", 8, "vpdpbusd", 1),
        ("avx-vnni", 8, "vpdpbusd", 2),
        ("avx2", 8, "vpmaddwd", 4),
        ("avx2", 4, "vpmaddubsw", 2),
    ],
)
def test_each_kind_has_its_instructions(kind: str, bits: int, instruction: str, count: int) -> None:
    """Whatever this machine is: the code is looked at, and not run."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64] * 3), "add")
    b = ir.IRBuilder(function.append_basic_block())
    sums, unsigned, signed = (b.load(at(b, v, vi), align=64) for v in function.args)
    b.store(dot(b, kind, sums, unsigned, signed, bits=bits), at(b, function.args[0], vi), align=64)
    b.ret_void()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    cpu = CPU_KINDS[kind]
    machine = binding.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(
        cpu=cpu.llvm_cpu, features=cpu.llvm_features, opt=3
    )
    assembly = machine.emit_assembly(binding.parse_assembly(str(module)))
    assert assembly.count(f"{instruction}\t") == count
    assert ("zmm" in assembly) == (kind == "avx512-vnni")
