"""One layer of a step as a thread runs it: its shares of the products, and the waits between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.engine.native_engine import GROUP, AttentionScratch
from llmasos.engine.native_engine import LayerField as L
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.attention import make_attend
from llmasos_builder.native.layer_parts import LayerParts
from llmasos_builder.native.residual import make_add_attention, make_add_mlp
from llmasos_builder.native.rows import ACTIVATIONS, add_bias, quantize_group
from llmasos_builder.native.shape import StepShape
from llmasos_builder.native.threads import atomic_add, barrier
from llmasos_builder.native.tile import ZERO_POINTS
from llmasos_builder.native.vectors import A, ldF, native, stF


def make_layer(shape: StepShape, parts: LayerParts) -> Callable[..., Any]:
    """run_layer(c, layer, index, thread, arrivals): arrivals after it, or 0 to give up."""
    attend, expand = _make_attention(shape, parts), _make_expand(shape, parts)
    add_attention, add_mlp = make_add_attention(shape, parts), make_add_mlp(shape, parts)
    is_parallel = shape.parallel

    @native
    def run_layer(c: Any, layer: Any, index: int, tid: int, target: int) -> int:
        target = attend(c, layer, index, tid, target)
        if target == 0:
            return 0
        if not is_parallel:
            target = add_attention(c, layer, tid, target)
            if target == 0:
                return 0
        target = expand(c, layer, tid, target)
        if target == 0:
            return 0
        if is_parallel:
            target = add_attention(c, layer, tid, target)
            if target == 0:
                return 0
        after: int = add_mlp(c, layer, tid, target)
        return after

    return run_layer


def _make_attention(shape: StepShape, parts: LayerParts) -> Callable[..., Any]:
    head, columns, normalized = shape.head, parts.columns, parts.normalized
    attend = make_attend(
        AttentionScratch(head, shape.query_heads), ZERO_POINTS[shape.bits], parts.kind,
        cap=shape.score_cap, slopes=shape.slopes,
    )  # fmt: skip

    @native
    def attention(c: Any, layer: Any, index: int, tid: int, target: int) -> int:
        """From x to attn; arrivals by then, or 0 to give up."""
        hidden, width = c[C.HIDDEN], (c[C.HEADS] + 2 * c[C.KV_HEADS]) * head
        act, target = normalized(
            c, layer[L.ATTENTION_NORM], layer[L.ATTENTION_NORM_BIAS], tid, target
        )
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
        return 0 if barrier(c, target) != 0 else target

    return attention


def _make_gate_up(shape: StepShape, linear: Callable[..., Any]) -> Callable[..., Any]:
    """64 hidden units: gate and up lie side by side, 16 columns of each in turn; or up alone."""
    zero, activate = ZERO_POINTS[shape.bits], ACTIVATIONS[shape.activation]
    is_gated, blocks = shape.gated, 4 if shape.gated else 2
    row_bytes = 128 * blocks

    @native
    def gate_up(c: Any, layer: Any, act: int, unit: int, temp: int) -> None:
        rows, bias = c[C.ROWS], layer[L.GATE_UP_BIAS]
        linear(
            act, c[C.HIDDEN], rows, layer[L.GATE_UP], layer[L.GATE_UP_SCALE], blocks * unit,
            blocks * unit + blocks, temp, A(row_bytes), A(0),
        )  # fmt: skip
        if bias != 0:
            add_bias(bias + row_bytes * unit, temp, A(row_bytes), rows, A(32 * blocks))
        for m in range(rows):
            t = temp + row_bytes * m
            for j in range(4):
                if is_gated:
                    stF(t + 64 * j, activate(ldF(t + 128 * j)) * ldF(t + 128 * j + 64))
                else:
                    stF(t + 64 * j, activate(ldF(t + 64 * j)))
            v0, v1, v2, v3 = ldF(t), ldF(t + 64), ldF(t + 128), ldF(t + 192)
            quantize_group(v0, v1, v2, v3, c[C.MID], c[C.INTER], rows, m, unit, A(zero))

    return gate_up


def _make_expand(shape: StepShape, parts: LayerParts) -> Callable[..., Any]:
    normalized, gate_up = parts.normalized, _make_gate_up(shape, parts.linear)

    @native
    def expand(c: Any, layer: Any, tid: int, target: int) -> int:
        """From x to mid; arrivals by then, or 0 to give up."""
        units, temp = c[C.INTER] // GROUP, c[C.TEMP] + tid * c[C.TEMP_SIZE]
        act, target = normalized(c, layer[L.MLP_NORM], layer[L.MLP_NORM_BIAS], tid, target)
        if target == 0:
            return 0
        for unit in range(units * tid // c[C.THREADS], units * (tid + 1) // c[C.THREADS]):
            gate_up(c, layer, act, unit, temp)
        target += c[C.THREADS]
        return 0 if barrier(c, target) != 0 else target

    return expand
