"""A whole step as one function that every thread runs.

    x = embedding of each token                       its rows, each thread some
    for each layer
        act = quantized norm of x                     rows; up to 4 each thread all of them
        qkv = act @ weights                           columns
        attn = quantized attention                    sequences and heads, whoever is free
        x += attn @ weights                           columns
        act = quantized norm of x
        mid = quantized activation(gate) * up         64 hidden units at a time
        x += mid @ weights                            columns
    of the sampled rows
        own = quantized norm of x                     each thread all of them
        logits = own @ head, or the largest of them   columns

Between two lines the threads wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmasos.engine.native_engine import COLUMNS, GROUP, ROWS_ALONE, AttentionScratch
from llmasos.engine.native_engine import LayerField as L
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.attention import make_attend
from llmasos_builder.native.head import make_predict
from llmasos_builder.native.rows import (
    ACTIVATIONS,
    add_bias,
    embed,
    normalize,
    quantize_group,
)
from llmasos_builder.native.shape import StepShape
from llmasos_builder.native.threads import atomic_add, await_step, barrier, begin_step
from llmasos_builder.native.tile import ZERO_POINTS, make_linear
from llmasos_builder.native.vectors import A, bits_as_f, ldF, native, stF, table

_LAYER_BYTES = 8 * len(L)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Kernels that several lines of the step use."""

    linear: Callable[..., Any]
    columns: Callable[..., Any]
    normalized: Callable[..., Any]

    @classmethod
    def make(cls, shape: StepShape) -> _Parts:
        linear = make_linear(shape.bits)
        return cls(
            linear=linear,
            columns=_make_columns(linear),
            normalized=_make_normalized(ZERO_POINTS[shape.bits]),
        )


def make_step(shape: StepShape) -> Callable[..., Any]:
    """enter(thread, c): thread 0 runs one step, for which it wakes the others; they run steps
    until they are told to stop. Returns 0, or 1 where a step was given up.
    """
    parts = _Parts.make(shape)
    attention, mlp = _make_attention(shape, parts), _make_mlp(shape, parts)
    predict = make_predict(parts.linear if shape.bits == 8 else make_linear(8))

    @native
    def step(tid: int, c: Any) -> int:
        target = c[C.BASE] + c[C.THREADS]
        for row in range(tid, c[C.ROWS], c[C.THREADS]):
            embed(c, row)
        if barrier(c, target) != 0:
            return 1
        for index in range(c[C.LAYERS]):
            layer = table(c[C.LAYER_TABLE] + _LAYER_BYTES * index)
            target = attention(c, layer, index, tid, target)
            if target == 0:
                return 1
            target = mlp(c, layer, tid, target)
            if target == 0:
                return 1
        predict(c, tid)
        return barrier(c, target + c[C.THREADS])

    @native
    def enter(tid: int, c_at: int) -> int:
        c, num_seen = table(c_at), A(0)
        if tid == 0:
            begin_step(c)
            return step(tid, c)
        while await_step(c, num_seen) == 0:
            num_seen += 1
            if step(tid, c) != 0:
                return 1
        return 0

    return enter


def _make_normalized(zero: int) -> Callable[..., Any]:
    @native
    def normalized(c: Any, weight: int, tid: int, target: int) -> Any:
        """Where all rows of x are, normalized and quantized, and the arrivals by then, or 0."""
        rows, hidden, eps = c[C.ROWS], c[C.HIDDEN], bits_as_f(c[C.EPS])
        if rows <= ROWS_ALONE:
            own = c[C.OWN] + tid * c[C.OWN_SIZE]
            for row in range(rows):
                x = c[C.X] + 4 * row * hidden
                normalize(x, weight, hidden, c[C.TRUE_HIDDEN], eps, own, row, rows, A(zero))
            return own, target
        for row in range(tid, rows, c[C.THREADS]):
            x = c[C.X] + 4 * row * hidden
            normalize(x, weight, hidden, c[C.TRUE_HIDDEN], eps, c[C.ACT], row, rows, A(zero))
        target += c[C.THREADS]
        if barrier(c, target) != 0:
            return c[C.ACT], A(0)
        return c[C.ACT], target

    return normalized


def _make_columns(linear: Callable[..., Any]) -> Callable[..., Any]:
    @native
    def columns(
        c: Any, tid: int, act: int, width: int, w: int, w_scale: int, bias: int, out: int,
        count: int, add: int,
    ) -> None:  # fmt: skip
        """This thread's share of the columns of a product; count: of all columns."""
        blocks = count // COLUMNS
        low, high = blocks * tid // c[C.THREADS], blocks * (tid + 1) // c[C.THREADS]
        start, rows = out + 4 * COLUMNS * low, c[C.ROWS]
        linear(act, width, rows, w, w_scale, low, high, start, 4 * count, add)
        if bias != 0:
            bias += 4 * COLUMNS * low
        add_bias(bias, start, 4 * count, rows, COLUMNS * (high - low))

    return columns


def _make_attention(shape: StepShape, parts: _Parts) -> Callable[..., Any]:
    head, columns, normalized = shape.head, parts.columns, parts.normalized
    attend = make_attend(AttentionScratch(head, shape.query_heads), ZERO_POINTS[shape.bits])

    @native
    def attention(c: Any, layer: Any, index: int, tid: int, target: int) -> int:
        """The first half of a layer; arrivals by then, or 0 to give up."""
        hidden, width = c[C.HIDDEN], (c[C.HEADS] + 2 * c[C.KV_HEADS]) * head
        act, target = normalized(c, layer[L.ATTENTION_NORM], tid, target)
        if target == 0:
            return 0
        columns(
            c, tid, act, hidden, layer[L.QKV], layer[L.QKV_SCALE], layer[L.QKV_BIAS], c[C.QKV],
            width, A(0),
        )  # fmt: skip
        target += c[C.THREADS]
        if barrier(c, target) != 0:
            return 0
        counter, memory = c[C.COUNTERS] + 64 * index, c[C.SCRATCH] + tid * c[C.SCRATCH_SIZE]
        item = atomic_add(counter, 1)
        while item < c[C.SEQS] * c[C.KV_HEADS]:
            ahead = atomic_add(counter, 1)
            attend(c, layer, index, item, ahead, memory)
            item = ahead
        target += c[C.THREADS]
        if barrier(c, target) != 0:
            return 0
        columns(
            c, tid, c[C.ATTN], c[C.HEADS] * head, layer[L.OUTPUT], layer[L.OUTPUT_SCALE],
            layer[L.OUTPUT_BIAS], c[C.X], hidden, A(1),
        )  # fmt: skip
        target += c[C.THREADS]
        return 0 if barrier(c, target) != 0 else target

    return attention


def _make_gate_up(shape: StepShape, linear: Callable[..., Any]) -> Callable[..., Any]:
    """64 hidden units: gate and up lie side by side, 16 columns of each in turn."""
    zero, activate = ZERO_POINTS[shape.bits], ACTIVATIONS[shape.activation]

    @native
    def gate_up(c: Any, layer: Any, act: int, unit: int, temp: int) -> None:
        rows, bias = c[C.ROWS], layer[L.GATE_UP_BIAS]
        linear(
            act, c[C.HIDDEN], rows, layer[L.GATE_UP], layer[L.GATE_UP_SCALE], 4 * unit,
            4 * unit + 4, temp, A(512), A(0),
        )  # fmt: skip
        if bias != 0:
            add_bias(bias + 512 * unit, temp, A(512), rows, A(128))
        for m in range(rows):
            t = temp + 512 * m
            for j in range(4):
                stF(t + 64 * j, activate(ldF(t + 128 * j)) * ldF(t + 128 * j + 64))
            v0, v1, v2, v3 = ldF(t), ldF(t + 64), ldF(t + 128), ldF(t + 192)
            quantize_group(v0, v1, v2, v3, c[C.MID], c[C.INTER], rows, m, unit, A(zero))

    return gate_up


def _make_mlp(shape: StepShape, parts: _Parts) -> Callable[..., Any]:
    columns, normalized = parts.columns, parts.normalized
    gate_up = _make_gate_up(shape, parts.linear)

    @native
    def mlp(c: Any, layer: Any, tid: int, target: int) -> int:
        """The second half of a layer; arrivals by then, or 0 to give up."""
        units, temp = c[C.INTER] // GROUP, c[C.TEMP] + tid * c[C.TEMP_SIZE]
        act, target = normalized(c, layer[L.MLP_NORM], tid, target)
        if target == 0:
            return 0
        for unit in range(units * tid // c[C.THREADS], units * (tid + 1) // c[C.THREADS]):
            gate_up(c, layer, act, unit, temp)
        target += c[C.THREADS]
        if barrier(c, target) != 0:
            return 0
        columns(
            c, tid, c[C.MID], c[C.INTER], layer[L.DOWN], layer[L.DOWN_SCALE], layer[L.DOWN_BIAS],
            c[C.X], c[C.HIDDEN], A(1),
        )  # fmt: skip
        target += c[C.THREADS]
        return 0 if barrier(c, target) != 0 else target

    return mlp
