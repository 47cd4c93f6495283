"""What is done with single rows: embedding, activations, biases, and quantization.

A quantized row is signed bytes with an f32 scale and an int32 sum for each group of 64 (`tile`
draws it). The scale is that of the group's largest magnitude, which becomes 127.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llmasos.engine.native_engine import GROUP
from llmasos.engine.native_step import StepField as C

from llmasos_builder.graph import Activation
from llmasos_builder.native.vectors import (
    A,
    N,
    S,
    absF,
    asF,
    asI,
    fma,
    hmaxF,
    hsumI,
    ldF,
    ldf,
    ldi,
    maxF,
    minF,
    native,
    pick,
    rintF,
    setF,
    setI,
    stB,
    stF,
    stf,
    sti,
    toI,
)

_X = np.cos(np.linspace(0, np.pi, 200)) / 2
C5, C4, C3, C2, C1, C0 = map(float, np.polyfit(_X, np.exp2(_X), 5, w=np.exp2(-_X)))
LOG2E = 1.4426950408889634


@native
def exp2(x: Any) -> Any:
    """2 ** x for x from -126 to 126: an integer power, and a polynomial from -1/2 to 1/2."""
    n = rintF(x)
    r = x - n
    y = setF(S(C5))
    y = fma(y, r, setF(S(C4)))
    y = fma(y, r, setF(S(C3)))
    y = fma(y, r, setF(S(C2)))
    y = fma(y, r, setF(S(C1)))
    y = fma(y, r, setF(S(C0)))
    return asF(asI(y) + (toI(n) << setI(N(23))))


@native
def sigmoid_of(x: Any, z: Any) -> Any:
    """x / (1 + exp(-z))."""
    power = minF(maxF(z * setF(S(-LOG2E)), setF(S(-126.0))), setF(S(126.0)))
    return x / (setF(S(1.0)) + exp2(power))


@native
def silu(x: Any) -> Any:
    return sigmoid_of(x, x)


@native
def gelu_tanh(x: Any) -> Any:
    """0.5 * x * (1 + tanh(y)) is x / (1 + exp(-2 * y))."""
    cubic = fma(x * x * x, setF(S(0.044715)), x)
    return sigmoid_of(x, cubic * setF(S(1.5957691216057308)))


@native
def gelu(x: Any) -> Any:
    """x * (1 + erf(x / sqrt 2)) / 2, by Abramowitz and Stegun, formula 7.1.26, to 1.5e-7."""
    z = absF(x) * setF(S(0.7071067811865476))
    t = setF(S(1.0)) / fma(z, setF(S(0.3275911)), setF(S(1.0)))
    y = fma(t, setF(S(1.061405429)), setF(S(-1.453152027)))
    y = fma(y, t, setF(S(1.421413741)))
    y = fma(y, t, setF(S(-0.284496736)))
    y = fma(y, t, setF(S(0.254829592))) * t
    tail = y * exp2(maxF(z * z * setF(S(-LOG2E)), setF(S(-126.0))))
    half = x * setF(S(0.5))
    return half + absF(half) * (setF(S(1.0)) - tail)


_SIGN = -(2**31)


@native
def tanh(x: Any) -> Any:
    """To 1e-6 of it; not a number where x is not finite. Small x by the series, without loss."""
    z, s = minF(absF(x), setF(S(20.0))), x * x
    e = exp2(z * setF(S(-2 * LOG2E)))
    large = (setF(S(1.0)) - e) / (setF(S(1.0)) + e)
    y = fma(s, setF(S(-17 / 315)), setF(S(2 / 15)))
    small = z * fma(s, fma(s, y, setF(S(-1 / 3))), setF(S(1.0)))
    y = asF(pick(z, setF(S(0.2)), asI(large), asI(small)) | (asI(x) & setI(N(_SIGN))))
    return fma(x, setF(S(0.0)), y)


def make_soft_cap(cap: float | None) -> Callable[[Any], Any]:
    """soft_cap(x): cap * tanh(x / cap), or x where there is no cap."""
    if cap is None:
        return native(lambda x: x)
    most, inverse = float(cap), 1 / cap

    @native
    def soft_cap(x: Any) -> Any:
        return setF(S(most)) * tanh(x * setF(S(inverse)))

    return soft_cap


@native
def relu(x: Any) -> Any:
    return maxF(x, setF(S(0.0)))


ACTIVATIONS: dict[Activation, Callable[[Any], Any]] = {
    "silu": silu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
}


@native
def quantize(
    v0: Any, v1: Any, v2: Any, v3: Any, at: int, scale_at: int, sum_at: int, zero: int
) -> None:
    """64 numbers to signed bytes with one scale, and their sum times -zero."""
    most = hmaxF(maxF(maxF(absF(v0), absF(v1)), maxF(absF(v2), absF(v3))))
    inverse = setF(S(127.0) / most if most > S(0.0) else S(0.0))
    q0, q1 = toI(rintF(v0 * inverse)), toI(rintF(v1 * inverse))
    q2, q3 = toI(rintF(v2 * inverse)), toI(rintF(v3 * inverse))
    stB(at, q0)
    stB(at + 16, q1)
    stB(at + 32, q2)
    stB(at + 48, q3)
    stf(scale_at, most / S(127.0))
    sti(sum_at, N(-zero * hsumI(q0 + q1 + (q2 + q3))))


@native
def quantize_group(
    v0: Any, v1: Any, v2: Any, v3: Any, act: int, width: int, rows: int, row: int, g: int, zero: int
) -> None:
    """Group g of a row, into where all quantized rows of this width are."""
    groups = width // GROUP
    scales = act + rows * width
    sums = scales + 4 * rows * groups
    place = 4 * (row * groups + g)
    quantize(v0, v1, v2, v3, act + row * width + GROUP * g, scales + place, sums + place, zero)


@native
def embed(c: Any, row: int) -> None:
    """A token's row of the embedding, which is packed as a matrix in int8, as f32 into x."""
    token = A(ldi(c[C.TOKENS] + 4 * row))
    width = c[C.HIDDEN]
    base = c[C.EMBEDDING] + token // 32 * 32 * width + token % 32 * 4
    scale = ldf(c[C.EMBEDDING_SCALE] + 4 * token)
    x = c[C.X] + 4 * row * width
    for k in range(width // 4):
        four = ldi(base + 128 * k)
        for j in range(4):
            stf(x + 16 * k + 4 * j, S((four >> (8 * j) & 255) - 128) * scale)


@native
def add_position(c: Any, row: int) -> None:
    """A token's learned position to x, if there are any."""
    width = c[C.HIDDEN]
    x = c[C.X] + 4 * row * width
    if c[C.POSITION_TABLE] != 0:
        learned = c[C.POSITION_TABLE] + 4 * width * A(ldi(c[C.POSITIONS] + 4 * row))
        for j in range(0, 4 * width, 64):
            stF(x + j, ldF(x + j) + ldF(learned + j))


@native
def add_bias(bias: int, out: int, ldo: int, rows: int, columns: int) -> None:
    """Add the same numbers to each row; bias: address of f32 [columns], 0 for none."""
    if bias == 0:
        return
    for m in range(rows):
        for j in range(0, 4 * columns, 64):
            p = out + m * ldo + j
            stF(p, ldF(p) + ldF(bias + j))
