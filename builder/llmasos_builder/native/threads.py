"""How the threads of a step wait for each other: atomics, futexes and a barrier.

A thread that waits spins for some microseconds and then sleeps, so that a thread which the
system has put aside finds a free core. No sleep is endless: whoever wakes up looks at STOP, by
which a thread that ends unexpectedly releases all others.
"""

# LLVM's values have no types for pyright, and these lambdas take nothing else.
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

from llmasos.engine.native_step import StepField as C
from llvmlite import ir
from numba import types

from llmasos_builder.native.vectors import A, at, call, i8, i32, i64, native, op

_BARRIER_SPINS = 1000
_STEP_SPINS = 20000
"""About a millisecond, in which the next step mostly comes."""
_FUTEX = 202
"""Number of the system call on x86-64."""
_WAIT, _WAKE = 128, 129
_LOCALITY = 2
"""Prefetch into the second-level cache."""

syscall: Any = types.ExternalFunction("syscall", A(A, A, A, A, A, A, A))
atomic_add = op(A, [A, A], lambda b, p, n: b.atomic_rmw("add", at(b, p, i64), n, "seq_cst"))
atomic_load = op(A, [A], lambda b, p: b.load_atomic(at(b, p, i64), "acquire", 8))
atomic_store = op(
    types.none, [A, A], lambda b, p, v: b.store_atomic(v, at(b, p, i64), "release", 8)
)


def _pause(b: Any, x: Any) -> Any:
    call(b, "llvm.x86.sse2.pause", ir.VoidType())
    return x


def emit_prefetch(b: Any, pointer: Any) -> None:
    """Fetch the cache line of a pointer before it is needed."""
    kind = ir.FunctionType(ir.VoidType(), [i8.as_pointer(), i32, i32, i32])
    name = "llvm.prefetch.p0"
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    b.call(function, [pointer, i32(0), i32(_LOCALITY), i32(1)])


pause = op(A, [A], _pause)
prefetch = op(types.none, [A], lambda b, p: emit_prefetch(b, at(b, p, i8)))


@native
def futex_wait(address: int, value: int, timeout: int) -> None:
    """Sleep while the number there is this one; at most as long as the timeout says."""
    syscall(_FUTEX, address, _WAIT, value & 0xFFFFFFFF, timeout, 0, 0)


@native
def futex_wake(address: int) -> None:
    """Wake all that sleep there."""
    syscall(_FUTEX, address, _WAKE, 1024, 0, 0, 0)


@native
def barrier(c: Any, target: int) -> int:
    """Wait until `target` arrivals are counted; not 0 if the step must be given up."""
    arrivals, sleepers = c[C.BARRIER], c[C.BARRIER] + 8
    if atomic_add(arrivals, 1) + 1 >= target:
        if atomic_load(sleepers) > 0:
            futex_wake(arrivals)
        return 0
    spins = 0
    while True:
        seen = atomic_load(arrivals)
        if seen >= target:
            return 0
        pause(0)
        spins += 1
        if spins > _BARRIER_SPINS:
            if atomic_load(c[C.STOP]) != 0:
                return 1
            atomic_add(sleepers, 1)
            futex_wait(arrivals, seen, c[C.TIMEOUT])
            atomic_add(sleepers, -1)


@native
def begin_step(c: Any) -> None:
    """Thread 0 sets the counters back and lets the others begin."""
    c[C.BASE] = atomic_load(c[C.BARRIER])
    for layer in range(c[C.LAYERS]):
        atomic_store(c[C.COUNTERS] + 64 * layer, 0)
    atomic_add(c[C.GO], 1)
    if atomic_load(c[C.ASLEEP]) > 0:
        futex_wake(c[C.GO])


@native
def await_step(c: Any, num_seen: int) -> int:
    """Wait until more steps than these were begun; not 0 if there will be none."""
    spins = 0
    while atomic_load(c[C.GO]) == num_seen:
        if atomic_load(c[C.STOP]) != 0:
            return 1
        pause(0)
        spins += 1
        if spins > _STEP_SPINS:
            atomic_add(c[C.ASLEEP], 1)
            futex_wait(c[C.GO], num_seen, c[C.TIMEOUT])
            atomic_add(c[C.ASLEEP], -1)
    return 1 if atomic_load(c[C.STOP]) != 0 else 0
