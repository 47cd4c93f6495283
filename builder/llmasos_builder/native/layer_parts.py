"""Kernels of a layer that several of its lines use: products by columns, and norms of all rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmasos.engine.native_engine import COLUMNS, ROWS_ALONE
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.norms import layer_norm, layer_normalize, rms_norm, rms_normalize
from llmasos_builder.native.rows import add_bias
from llmasos_builder.native.shape import StepShape
from llmasos_builder.native.threads import barrier
from llmasos_builder.native.tile import ZERO_POINTS, make_linear
from llmasos_builder.native.vectors import A, bits_as_f, native


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerParts:
    """Kernels that several lines of the step use.

    kind: of processor. normalized: norms of all rows, quantized; norm: of one in f32.
    """

    kind: str
    linear: Callable[..., Any]
    columns: Callable[..., Any]
    normalized: Callable[..., Any]
    norm: Callable[..., Any]

    @classmethod
    def make(cls, shape: StepShape, kind: str) -> LayerParts:
        linear = make_linear(shape.bits, kind)
        return cls(
            kind=kind,
            linear=linear,
            columns=_make_columns(linear),
            normalized=_make_normalized(ZERO_POINTS[shape.bits], make_normalize(shape)),
            norm=layer_norm if shape.layer_norm else rms_norm,
        )


def make_normalize(shape: StepShape) -> Callable[..., Any]:
    return layer_normalize if shape.layer_norm else rms_normalize


def _make_normalized(zero: int, normalize: Callable[..., Any]) -> Callable[..., Any]:
    @native
    def normalized(c: Any, weight: int, bias: int, tid: int, target: int) -> Any:
        """Where all rows of x are, normalized and quantized, and the arrivals by then, or 0."""
        rows, hidden, eps = c[C.ROWS], c[C.HIDDEN], bits_as_f(c[C.EPS])
        if rows <= ROWS_ALONE:
            own = c[C.OWN] + tid * c[C.OWN_SIZE]
            for row in range(rows):
                x = c[C.X] + 4 * row * hidden
                normalize(x, weight, bias, hidden, c[C.TRUE_HIDDEN], eps, own, row, rows, A(zero))
            return own, target
        for row in range(tid, rows, c[C.THREADS]):
            x = c[C.X] + 4 * row * hidden
            normalize(x, weight, bias, hidden, c[C.TRUE_HIDDEN], eps, c[C.ACT], row, rows, A(zero))
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
