"""One head of a token: normalized, rotated, quantized, and written into the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.engine.native_engine import BLOCK_SIZE, AttentionScratch, KVBlock
from llmasos.engine.native_step import StepField as C

from llmasos_builder.native.norms import inverse_deviation
from llmasos_builder.native.vectors import (
    A,
    N,
    S,
    absF,
    bits_as_f,
    hmaxF,
    hsumI,
    ldF,
    ldI,
    ldi,
    maxF,
    native,
    rintF,
    setF,
    setI,
    stF,
    stf,
    stI,
    sti,
    toI,
)


def make_rotate(head: int) -> Callable[..., Any]:
    """rotate(c, source, norm, table, factor, target): one head in f32.

    norm: address of the weights of its RMSNorm, 0 for none. table: of its position's cosines
    and sines. factor: multiplies it.
    """
    vectors, half = head // 32, 2 * head

    @native
    def rotate(c: Any, source: int, norm: int, table: int, factor: Any, target: int) -> None:
        r = S(1.0)
        if norm != 0:
            r = inverse_deviation(source, A(head), c[C.TRUE_HEAD], bits_as_f(c[C.EPS]))
        scale = setF(factor)
        for j in range(0, 64 * vectors, 64):
            a, b = ldF(source + j), ldF(source + half + j)
            if norm != 0:
                a = a * setF(r) * ldF(norm + j)
                b = b * setF(r) * ldF(norm + half + j)
            cos, sin = ldF(table + j), ldF(table + half + j)
            stF(target + j, (a * cos - b * sin) * scale)
            stF(target + half + j, (b * cos + a * sin) * scale)

    return rotate


def make_pack_query(head: int) -> Callable[..., Any]:
    """pack_query(source, target): signed bytes by quads, then scale * sum and scale."""
    vectors = head // 16

    @native
    def pack_query(source: int, target: int) -> None:
        most = absF(ldF(source))
        for j in range(1, vectors):
            most = maxF(most, absF(ldF(source + 64 * j)))
        top = hmaxF(most)
        inverse, byte = setF(S(127.0) / top if top > S(0.0) else S(0.0)), setI(N(255))
        total = setI(N(0))
        for j in range(0, vectors, 4):
            p = source + 64 * j
            q0, q1 = toI(rintF(ldF(p) * inverse)), toI(rintF(ldF(p + 64) * inverse))
            q2, q3 = toI(rintF(ldF(p + 128) * inverse)), toI(rintF(ldF(p + 192) * inverse))
            low = (q0 & byte) | ((q1 & byte) << setI(N(8)))
            stI(target + 16 * j, low | ((q2 & byte) << setI(N(16))) | (q3 << setI(N(24))))
            total = total + (q0 + q1 + (q2 + q3))
        scale = top / S(127.0)
        stf(target + head, scale * S(hsumI(total)))
        stf(target + head + 4, scale)

    return pack_query


def _make_write_key(head: int) -> Callable[..., Any]:
    layout, vectors = KVBlock(head), head // 16
    key_scales, key_offsets = layout.key_scales, layout.key_offsets

    @native
    def write_key(source: int, block: int, slot: int, packed: int) -> None:
        """Unsigned bytes between the least and the greatest number of the key."""
        top, bottom = ldF(source), setF(S(0.0)) - ldF(source)
        for j in range(1, vectors):
            v = ldF(source + 64 * j)
            top, bottom = maxF(top, v), maxF(bottom, setF(S(0.0)) - v)
        most, least = hmaxF(top), -hmaxF(bottom)
        low = setF(least)
        inverse = setF(S(255.0) / (most - least) if most > least else S(0.0))
        for j in range(0, vectors, 4):
            p = source + 64 * j
            u0, u1 = (ldF(p) - low) * inverse, (ldF(p + 64) - low) * inverse
            u2, u3 = (ldF(p + 128) - low) * inverse, (ldF(p + 192) - low) * inverse
            pair = toI(rintF(u0)) | (toI(rintF(u1)) << setI(N(8)))
            stI(
                packed + 16 * j,
                pair | (toI(rintF(u2)) << setI(N(16))) | (toI(rintF(u3)) << setI(N(24))),
            )
        stf(block + key_scales + 4 * slot, (most - least) / S(255.0))
        stf(block + key_offsets + 4 * slot, least)
        for quad in range(head // 4):
            sti(block + 128 * quad + 4 * slot, ldi(packed + 4 * quad))

    return write_key


def _make_write_value(head: int) -> Callable[..., Any]:
    layout, vectors = KVBlock(head), head // 16
    values, value_scales = layout.values, layout.value_scales

    @native
    def write_value(source: int, block: int, slot: int) -> None:
        """Signed bytes: one of the four that share a lane with other tokens' is replaced."""
        most = absF(ldF(source))
        for j in range(1, vectors):
            most = maxF(most, absF(ldF(source + 64 * j)))
        top = hmaxF(most)
        inverse = setF(S(127.0) / top if top > S(0.0) else S(0.0))
        stf(block + value_scales + 4 * slot, top / S(127.0))
        row = block + values + 4 * head * (slot % 8)
        shift, byte = setI(N(8 * (slot // 16 + 2 * (slot // 8 % 2)))), setI(N(255))
        keep = setI(N(-1)) - (byte << shift)
        for j in range(vectors):
            q = (toI(rintF(ldF(source + 64 * j) * inverse)) & byte) << shift
            stI(row + 64 * j, (ldI(row + 64 * j) & keep) | q)

    return write_value


def make_write_cache(scratch: AttentionScratch, rotate: Callable[..., Any]) -> Callable[..., Any]:
    """write_cache(c, key, value, norm, table, block, slot, memory): a token's key and value.

    key, value: addresses of one head in f32. norm, table: as in `make_rotate`. block: where the
    block of this head is; slot: which of its tokens. memory: the thread's scratch.
    """
    write_key, write_value = _make_write_key(scratch.head), _make_write_value(scratch.head)
    rotated = scratch.rotated

    @native
    def write_cache(
        c: Any, key: int, value: int, norm: int, table: int, block: int, slot: int, memory: int
    ) -> None:
        rotate(c, key, norm, table, S(1.0), memory + rotated)
        write_key(memory + rotated, block, slot, memory)
        write_value(value, block, slot)

    assert scratch.query_bytes >= scratch.head
    assert BLOCK_SIZE == 32
    return write_cache
