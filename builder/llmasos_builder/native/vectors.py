"""Vectors of 16 numbers as numba types, and instructions as functions that numba knows.

A kernel is a Python function that numba compiles. Memory is addressed by integers, so that the
compiled code needs nothing of numba when it runs: `ldF(address)` loads 16 f32, `stF` stores
them, `x * y` is one instruction. All orders of sums are written down here or in the kernels:
none depends on how many rows a step has.

Names: F is 16 f32, I is 16 int32, S is one f32, N is one int32, A is an address or a count.
"""

# LLVM's values have no types for pyright, and these lambdas take nothing else.
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir
from numba import njit, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16
i8, i16, i32, i64 = map(ir.IntType, (8, 16, 32, 64))
f32 = ir.FloatType()
vf, vi = ir.VectorType(f32, LANES), ir.VectorType(i32, LANES)
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def native(function: FunctionT) -> FunctionT:
    """A function that is compiled into the step."""
    compiler: Any = njit  # whose types do not know these options
    options = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast("FunctionT", compiler(**options)(function))


class Vector(types.Type):  # type: ignore[misc]  # numba has no stubs
    """A type that numba keeps in a register. llvm: as LLVM calls it."""

    def __init__(self, name: str, llvm: Any) -> None:
        super().__init__(name=name)
        self.llvm = llvm


F, I = Vector("f32x16", vf), Vector("i32x16", vi)  # noqa: E741


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]  # numba has no stubs
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


A: Any = types.int64
S: Any = types.float32
N: Any = types.int32


def op(ret: Any, args: list[Any], emit: Callable[..., Any]) -> Any:
    """A function of 1 to 4 arguments; emit(builder, *values) returns its value."""

    def typed(_context: Any, *_given: Any) -> Any:
        def codegen(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            out = emit(builder, *values)
            return nothing() if ret is types.none else out

        return ret(*args), codegen

    def one(context: Any, a: Any) -> Any:
        return typed(context, a)

    def two(context: Any, a: Any, b: Any) -> Any:
        return typed(context, a, b)

    def three(context: Any, a: Any, b: Any, c: Any) -> Any:
        return typed(context, a, b, c)

    def four(context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return typed(context, a, b, c, d)

    return intrinsic((one, two, three, four)[len(args) - 1])


def nothing() -> Any:
    """What a function that returns nothing gives to numba."""
    return ir.Constant(i8.as_pointer(), None)


def call(builder: Any, name: str, ret: Any, *values: Any) -> Any:
    """Call an LLVM intrinsic."""
    kind = ir.FunctionType(ret, [value.type for value in values])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, values)


def at(builder: Any, address: Any, kind: Any) -> Any:
    """A pointer to what lies at an address."""
    return builder.inttoptr(address, kind.as_pointer())


def splat(builder: Any, x: Any, kind: Any) -> Any:
    """A vector of one number."""
    v = builder.insert_element(ir.Constant(kind, ir.Undefined), x, i32(0))
    lanes = ir.Constant(ir.VectorType(i32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(v, ir.Constant(kind, ir.Undefined), lanes)


def _load(kind: Any) -> Callable[..., Any]:
    return lambda b, p: b.load(at(b, p, kind), align=4)


def _store(kind: Any) -> Callable[..., Any]:
    return lambda b, p, v: b.store(v, at(b, p, kind), align=4)


ldF, ldI = op(F, [A], _load(vf)), op(I, [A], _load(vi))
stF, stI = op(types.none, [A, F], _store(vf)), op(types.none, [A, I], _store(vi))
ldf, ldi = op(S, [A], _load(f32)), op(N, [A], _load(i32))
stf, sti = op(types.none, [A, S], _store(f32)), op(types.none, [A, N], _store(i32))
lda = op(A, [A], lambda b, p: b.load(at(b, p, i64), align=8))
ldF1 = op(F, [A], lambda b, p: splat(b, b.load(at(b, p, f32), align=4), vf))
setF = op(F, [S], lambda b, x: splat(b, x, vf))
setI = op(I, [N], lambda b, x: splat(b, x, vi))
low32 = op(N, [A], lambda b, x: b.trunc(x, i32))
bits_as_f = op(S, [A], lambda b, x: b.bitcast(b.trunc(x, i32), f32))
fma = op(F, [F, F, F], lambda b, x, y, z: call(b, "llvm.fma.v16f32", vf, x, y, z))
maxF = op(F, [F, F], lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
minF = op(F, [F, F], lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))
absF = op(F, [F], lambda b, x: call(b, "llvm.fabs.v16f32", vf, x))
rintF = op(F, [F], lambda b, x: call(b, "llvm.rint.v16f32", vf, x))
toI, toF = op(I, [F], lambda b, x: b.fptosi(x, vi)), op(F, [I], lambda b, x: b.sitofp(x, vf))
asI, asF = op(I, [F], lambda b, x: b.bitcast(x, vi)), op(F, [I], lambda b, x: b.bitcast(x, vf))
sqrtf = op(S, [S], lambda b, x: call(b, "llvm.sqrt.f32", f32, x))
pick = op(I, [F, F, I, I], lambda b, x, y, u, v: b.select(b.fcmp_ordered(">", x, y), u, v))
"""u where x > y, else v."""


def _tree(combine: Callable[..., Any]) -> Callable[..., Any]:
    """Halves of a vector are combined until one lane is left: a fixed order."""

    def emit(b: Any, v: Any) -> Any:
        n = LANES
        while n > 1:
            n //= 2
            half = ir.VectorType(i32, n)
            low = b.shuffle_vector(v, v, ir.Constant(half, list(range(n))))
            high = b.shuffle_vector(v, v, ir.Constant(half, list(range(n, 2 * n))))
            v = combine(b, low, high)
        return b.extract_element(v, i32(0))

    return emit


hmaxF = op(S, [F], _tree(lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y)))
hsumF = op(S, [F], _tree(lambda b, x, y: b.fadd(x, y)))
hsumI = op(N, [I], _tree(lambda b, x, y: b.add(x, y)))


def _below(b: Any, n: Any) -> Any:
    lanes = ir.Constant(vi, list(range(LANES)))
    return b.icmp_signed("<", lanes, splat(b, n, vi))


_SWAPPED = ir.Constant(vi, [*range(8, 16), *range(8)])
_BYTES = ir.VectorType(i8, LANES)
first = op(F, [F, N, F], lambda b, x, n, rest: b.select(_below(b, n), x, rest))
"""x in the lanes below n, else rest."""
high = op(I, [I], lambda b, v: b.shuffle_vector(v, v, _SWAPPED))
"""With its halves swapped."""
stB = op(types.none, [A, I], lambda b, p, v: b.store(b.trunc(v, _BYTES), at(b, p, _BYTES), align=1))
"""Store the low byte of each lane."""


def _operator(function: Callable[..., Any], kind: Vector, method: str) -> None:
    template = type("_Template", (ConcreteTemplate,), {"cases": [signature(kind, kind, kind)]})
    cast("Any", infer_global(function))(template)

    def lower(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return getattr(builder, method)(*args)

    lower_builtin(function, kind, kind)(lower)


_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "truediv": "fdiv"}
_INTEGER = {
    **{"add": "add", "sub": "sub", "and_": "and_", "or_": "or_"},
    **{"lshift": "shl", "rshift": "lshr"},
}
for _name, _method in _FLOAT.items():
    _operator(getattr(operator, _name), F, _method)
for _name, _method in _INTEGER.items():
    _operator(getattr(operator, _name), I, _method)


class Table(types.Type):  # type: ignore[misc]  # numba has no stubs
    """64-bit integers at an address."""

    def __init__(self) -> None:
        super().__init__(name="int64 table")


TABLE = Table()


@register_model(Table)
class _TableModel(models.PrimitiveModel):  # type: ignore[misc]  # numba has no stubs
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, i64)


class _GetItem(ConcreteTemplate):  # type: ignore[misc]  # numba has no stubs
    cases = [signature(A, TABLE, A)]  # noqa: RUF012


class _SetItem(ConcreteTemplate):  # type: ignore[misc]  # numba has no stubs
    cases = [signature(types.none, TABLE, A, A)]  # noqa: RUF012


def _place(b: Any, address: Any, index: Any) -> Any:
    return at(b, b.add(address, b.shl(index, i64(3))), i64)


def _get(_context: Any, b: Any, _signature: Any, args: Any) -> Any:
    return b.load(_place(b, *args), align=8)


def _set(_context: Any, b: Any, _signature: Any, args: Any) -> Any:
    b.store(args[2], _place(b, *args[:2]), align=8)


cast("Any", infer_global(operator.getitem))(_GetItem)
cast("Any", infer_global(operator.setitem))(_SetItem)
lower_builtin(operator.getitem, TABLE, A)(_get)
lower_builtin(operator.setitem, TABLE, A, A)(_set)
table = op(TABLE, [A], lambda _, address: address)
