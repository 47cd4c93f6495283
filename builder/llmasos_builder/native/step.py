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

Between two lines the threads wait for each other. In a network whose layers are parallel, act and
mid of the MLP are computed before either part is added to x. Norms behind a part (`residual`) take
two waits more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.engine.native_engine import LayerField as L
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.head import make_predict
from llmasos_builder.native.layer import make_layer
from llmasos_builder.native.layer_parts import LayerParts, make_normalize
from llmasos_builder.native.rows import add_position, embed
from llmasos_builder.native.shape import StepShape
from llmasos_builder.native.threads import await_step, barrier, begin_step
from llmasos_builder.native.tile import make_linear
from llmasos_builder.native.vectors import A, bits_as_f, native, table

_LAYER_BYTES = 8 * len(L)


def _make_embed_row(shape: StepShape, parts: LayerParts) -> Callable[..., Any]:
    norm, normalizes = parts.norm, shape.embedding_norm

    @native
    def embed_row(c: Any, row: int) -> None:
        embed(c, row)
        if normalizes:
            x, hidden = c[C.X] + 4 * row * c[C.HIDDEN], c[C.HIDDEN]
            weight, bias, eps = c[C.EMBEDDING_NORM], c[C.EMBEDDING_NORM_BIAS], c[C.EPS]
            norm(x, weight, bias, hidden, c[C.TRUE_HIDDEN], bits_as_f(eps), x, A(0))
        add_position(c, row)

    return embed_row


def make_step(shape: StepShape, kind: str) -> Callable[..., Any]:
    """enter(thread, c): thread 0 runs one step, for which it wakes the others; they run steps
    until they are told to stop. Returns 0, or 1 where a step was given up. kind: of processor.
    """
    parts = LayerParts.make(shape, kind)
    run_layer = make_layer(shape, parts)
    predict = make_predict(
        parts.linear if shape.bits == 8 else make_linear(8, kind),
        make_normalize(shape),
        shape.logit_cap,
    )
    embed_row = _make_embed_row(shape, parts)

    @native
    def step(tid: int, c: Any) -> int:
        target = c[C.BASE] + c[C.THREADS]
        for row in range(tid, c[C.ROWS], c[C.THREADS]):
            embed_row(c, row)
        if barrier(c, target) != 0:
            return 1
        for index in range(c[C.LAYERS]):
            layer = table(c[C.LAYER_TABLE] + _LAYER_BYTES * index)
            target = run_layer(c, layer, index, tid, target)
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
