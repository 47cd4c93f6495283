"""The last product of a step: logits of the sampled rows, or only the largest of them.

Where the largest is enough, a thread reduces its columns while they are in its caches, 16 lanes
of each row by themselves (BEST of one row and thread):

    0     f32 of each lane: its largest logit
    64    int32 of each lane: that token, the lowest of equals
    128   f32 of each lane: 0, or NaN where some logit was not finite

The runtime takes the largest of all lanes and threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.engine.native_engine import BEST_BYTES, HEAD_BLOCKS
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.rows import make_soft_cap
from llmasos_builder.native.tile import ZERO_POINTS
from llmasos_builder.native.vectors import (
    A,
    N,
    S,
    bits_as_f,
    first,
    fma,
    ldF,
    ldI,
    ldi,
    low32,
    maxF,
    native,
    pick,
    setF,
    setI,
    stF,
    stI,
)

_ZERO = ZERO_POINTS[8]
_LEAST = -3.0e38


@native
def _begin(best: int, samples: int) -> None:
    for m in range(samples):
        stF(best + BEST_BYTES * m, setF(S(_LEAST)))
        stI(best + BEST_BYTES * m + 64, setI(N(0)))
        stF(best + BEST_BYTES * m + 128, setF(S(0.0)))


def _make_reduce(soft_cap: Callable[..., Any]) -> Callable[..., Any]:
    @native
    def reduce(c: Any, logits: int, vectors: int, token: int, best: int) -> None:
        """Take some vectors of one row's logits into account; token: the first one's id."""
        lanes, nothing, least = ldI(c[C.LANES]), setF(S(0.0)), setF(S(_LEAST))
        value, index, poison = ldF(best), ldI(best + 64), ldF(best + 128)
        for j in range(vectors):
            there = low32(c[C.VOCAB] - token - 16 * j)  # what is behind the vocabulary is padding
            v = first(soft_cap(ldF(logits + 64 * j)), there, least)
            index = pick(v, value, lanes + setI(low32(token + 16 * j)), index)
            value = maxF(v, value)
            poison = fma(v, nothing, poison)
        stF(best, value)
        stI(best + 64, index)
        stF(best + 128, poison)

    return reduce


def _make_cap_rows(soft_cap: Callable[..., Any]) -> Callable[..., Any]:
    @native
    def cap_rows(out: int, size: int, rows: int, ldo: int) -> None:
        """Soft cap of so many bytes of each row."""
        for m in range(rows):
            for j in range(0, size, 64):
                p = out + ldo * m + j
                stF(p, soft_cap(ldF(p)))

    return cap_rows


def _make_take_largest(
    linear: Callable[..., Any], soft_cap: Callable[..., Any]
) -> Callable[..., Any]:
    reduce = _make_reduce(soft_cap)

    @native
    def take_largest(c: Any, own: int, tid: int, low: int, stop: int) -> None:
        samples, temp = c[C.SAMPLES], c[C.TEMP] + tid * c[C.TEMP_SIZE]
        best, ldo = c[C.BEST] + BEST_BYTES * samples * tid, A(128 * HEAD_BLOCKS)
        _begin(best, samples)
        while low < stop:
            high = min(stop, low + HEAD_BLOCKS)
            linear(
                own, c[C.HIDDEN], samples, c[C.HEAD], c[C.HEAD_SCALE], low, high, temp, ldo, A(0)
            )
            for m in range(samples):
                reduce(c, temp + m * ldo, 2 * (high - low), 32 * low, best + BEST_BYTES * m)
            low = high

    return take_largest


def make_predict(
    linear: Callable[..., Any], normalize: Callable[..., Any], logit_cap: float | None
) -> Callable[..., Any]:
    """predict(c, thread): this thread's columns of the head.

    linear: for weights in int8. normalize: the norm of the network's kind. logit_cap: of logits,
    if any.
    """
    soft_cap, caps = make_soft_cap(logit_cap), logit_cap is not None
    take_largest, cap_rows = _make_take_largest(linear, soft_cap), _make_cap_rows(soft_cap)

    @native
    def predict(c: Any, tid: int) -> None:
        samples, hidden, blocks = c[C.SAMPLES], c[C.HIDDEN], c[C.VOCAB_BLOCKS]
        own, eps = c[C.OWN] + tid * c[C.OWN_SIZE], bits_as_f(c[C.EPS])
        for m in range(samples):
            x = c[C.X] + 4 * hidden * A(ldi(c[C.SAMPLE_ROWS] + 4 * m))
            normalize(
                x, c[C.FINAL_NORM], c[C.FINAL_NORM_BIAS], hidden, c[C.TRUE_HIDDEN], eps, own, m,
                samples, A(_ZERO),
            )  # fmt: skip
        low, stop = blocks * tid // c[C.THREADS], blocks * (tid + 1) // c[C.THREADS]
        if c[C.LOGITS] == 0:
            take_largest(c, own, tid, low, stop)
            return
        out, scale = c[C.LOGITS] + 128 * low, c[C.HEAD_SCALE]
        linear(own, hidden, samples, c[C.HEAD], scale, low, stop, out, 128 * blocks, A(0))
        if caps:
            cap_rows(out, 128 * (stop - low), samples, 128 * blocks)

    return predict
