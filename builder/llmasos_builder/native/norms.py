"""Norms of single rows: into quantized rows, or in f32."""

from __future__ import annotations

from typing import Any

from llmasos.engine.native_engine import GROUP

from llmasos_builder.native.rows import quantize_group
from llmasos_builder.native.vectors import S, fma, hsumF, ldF, native, setF, sqrtf, stF


@native
def inverse_deviation(x: int, width: int, true_width: int, eps: Any) -> Any:
    """1 / sqrt(mean of squares + eps) of f32 numbers; those behind true_width are zeros."""
    total0, total1 = setF(S(0.0)), setF(S(0.0))
    for j in range(0, 4 * width, 128):
        a, b = ldF(x + j), ldF(x + j + 64)
        total0, total1 = fma(a, a, total0), fma(b, b, total1)
    return S(1.0) / sqrtf(hsumF(total0 + total1) / S(true_width) + eps)


@native
def rms_normalize(
    x: int, weight: int, _bias: int, width: int, true_width: int, eps: Any, act: int, row: int,
    rows: int, zero: int,
) -> None:  # fmt: skip
    """RMSNorm of one row, quantized."""
    r = setF(inverse_deviation(x, width, true_width, eps))
    for g in range(width // GROUP):
        p, w = x + 4 * GROUP * g, weight + 4 * GROUP * g
        v0, v1 = ldF(p) * r * ldF(w), ldF(p + 64) * r * ldF(w + 64)
        v2, v3 = ldF(p + 128) * r * ldF(w + 128), ldF(p + 192) * r * ldF(w + 192)
        quantize_group(v0, v1, v2, v3, act, width, rows, row, g, zero)


@native
def moments(x: int, width: int, true_width: int, eps: Any) -> Any:
    """The mean of f32 numbers and 1 / sqrt(variance + eps), each in all lanes; those behind
    true_width are zeros.
    """
    total0, total1 = setF(S(0.0)), setF(S(0.0))
    for j in range(0, 4 * width, 128):
        total0, total1 = total0 + ldF(x + j), total1 + ldF(x + j + 64)
    mean = hsumF(total0 + total1) / S(true_width)
    m, square0, square1 = setF(mean), setF(S(0.0)), setF(S(0.0))
    for j in range(0, 4 * width, 128):
        a, b = ldF(x + j) - m, ldF(x + j + 64) - m
        square0, square1 = fma(a, a, square0), fma(b, b, square1)
    squares = hsumF(square0 + square1) - S(width - true_width) * mean * mean
    return m, setF(S(1.0) / sqrtf(max(squares, S(0.0)) / S(true_width) + eps))


@native
def layer_normalize(
    x: int, weight: int, bias: int, width: int, true_width: int, eps: Any, act: int, row: int,
    rows: int, zero: int,
) -> None:  # fmt: skip
    """LayerNorm of one row, quantized; weight and bias are zero behind true_width."""
    m, r = moments(x, width, true_width, eps)
    for g in range(width // GROUP):
        p, w, b = x + 4 * GROUP * g, weight + 4 * GROUP * g, bias + 4 * GROUP * g
        v0 = fma((ldF(p) - m) * r, ldF(w), ldF(b))
        v1 = fma((ldF(p + 64) - m) * r, ldF(w + 64), ldF(b + 64))
        v2 = fma((ldF(p + 128) - m) * r, ldF(w + 128), ldF(b + 128))
        v3 = fma((ldF(p + 192) - m) * r, ldF(w + 192), ldF(b + 192))
        quantize_group(v0, v1, v2, v3, act, width, rows, row, g, zero)


@native
def rms_norm(
    x: int, weight: int, _bias: int, width: int, true_width: int, eps: Any, out: int, add: int
) -> None:
    """RMSNorm of one row in f32, which may be in its place; add: not 0 to add to what is there."""
    r = setF(inverse_deviation(x, width, true_width, eps))
    for j in range(0, 4 * width, 64):
        v = ldF(x + j) * r * ldF(weight + j)
        if add != 0:
            v = ldF(out + j) + v
        stF(out + j, v)


@native
def layer_norm(
    x: int, weight: int, bias: int, width: int, true_width: int, eps: Any, out: int, add: int
) -> None:
    """LayerNorm of one row, as `rms_norm`."""
    m, r = moments(x, width, true_width, eps)
    for j in range(0, 4 * width, 64):
        v = fma((ldF(x + j) - m) * r, ldF(weight + j), ldF(bias + j))
        if add != 0:
            v = ldF(out + j) + v
        stF(out + j, v)
