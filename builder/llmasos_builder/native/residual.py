"""What a layer adds to x: the last product of attention and of the MLP.

Norms behind a part stand between its product and the sum. The product then goes where query, key
and value were, and each thread normalizes some of its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.engine.native_engine import LayerField as L
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.layer_parts import LayerParts
from llmasos_builder.native.shape import StepShape
from llmasos_builder.native.threads import barrier
from llmasos_builder.native.vectors import A, bits_as_f, native


def make_add_attention(shape: StepShape, parts: LayerParts) -> Callable[..., Any]:
    """add_attention(c, layer, thread, arrivals): arrivals after it, or 0 to give up.

    In a parallel layer the threads do not wait: each adds the MLP to the same columns.
    """
    head, columns = shape.head, parts.columns

    @native
    def product(c: Any, layer: Any, tid: int, out: int, add: int) -> None:
        columns(
            c, tid, c[C.ATTN], c[C.HEADS] * head, layer[L.OUTPUT], layer[L.OUTPUT_SCALE],
            layer[L.OUTPUT_BIAS], out, c[C.HIDDEN], add,
        )  # fmt: skip

    if shape.part_norms:
        return _make_add_normed(
            product, parts, L.ATTENTION_OUTPUT_NORM, L.ATTENTION_OUTPUT_NORM_BIAS
        )
    return _make_add(product, waits=not shape.parallel)


def make_add_mlp(shape: StepShape, parts: LayerParts) -> Callable[..., Any]:
    """add_mlp(c, layer, thread, arrivals): arrivals after it, or 0 to give up."""
    columns = parts.columns

    @native
    def product(c: Any, layer: Any, tid: int, out: int, add: int) -> None:
        columns(
            c, tid, c[C.MID], c[C.INTER], layer[L.DOWN], layer[L.DOWN_SCALE], layer[L.DOWN_BIAS],
            out, c[C.HIDDEN], add,
        )  # fmt: skip

    if shape.part_norms:
        return _make_add_normed(product, parts, L.MLP_OUTPUT_NORM, L.MLP_OUTPUT_NORM_BIAS)
    return _make_add(product, waits=True)


def _make_add(product: Callable[..., Any], *, waits: bool) -> Callable[..., Any]:
    @native
    def add(c: Any, layer: Any, tid: int, target: int) -> int:
        product(c, layer, tid, c[C.X], A(1))
        if not waits:
            return target
        target += c[C.THREADS]
        return 0 if barrier(c, target) != 0 else target

    return add


def _make_add_normed(
    product: Callable[..., Any], parts: LayerParts, weight: L, bias: L
) -> Callable[..., Any]:
    """weight, bias: where the layer has those of the norm."""
    norm, weight_at, bias_at = parts.norm, int(weight), int(bias)

    @native
    def add_normed(c: Any, layer: Any, tid: int, target: int) -> int:
        hidden, eps = c[C.HIDDEN], bits_as_f(c[C.EPS])
        product(c, layer, tid, c[C.QKV], A(0))
        target += c[C.THREADS]
        if barrier(c, target) != 0:
            return 0
        for row in range(tid, c[C.ROWS], c[C.THREADS]):
            part, x = c[C.QKV] + 4 * row * hidden, c[C.X] + 4 * row * hidden
            norm(part, layer[weight_at], layer[bias_at], hidden, c[C.TRUE_HIDDEN], eps, x, A(1))
        target += c[C.THREADS]
        return 0 if barrier(c, target) != 0 else target

    return add_normed
