"""Matrices and vectors in the order in which the kernels read them (`tile` draws it).

Sizes are padded with zeros to groups of 64. Heads are padded too, each by itself; those that
are rotated pair their first half with their second, so that each half is padded.
"""

from __future__ import annotations

import numpy as np
from llmasos.engine.native_engine import GROUP, padded
from llmasos.engine.weight_format import WeightFormat
from numpy.typing import NDArray

from llmasos_builder.graph import Array
from llmasos_builder.graph.quantizer import CPU_METHODS, quantize_rows

Bytes = NDArray[np.uint8]
INT8, INT4 = WeightFormat(kind="int8"), WeightFormat(kind="int4", group_size=GROUP)


def pack(values: Array, bits: int) -> tuple[Bytes, Array]:
    """A matrix [N, K] of padded sizes, in int8 or int4, and its scales."""
    rows, columns = values.shape
    if bits == 8:
        quantized = quantize_rows(values, INT8, method=CPU_METHODS["int8"])
        unsigned = (quantized.codes.astype(np.int16) + np.int16(128)).astype(np.uint8)
        blocks = unsigned.reshape(rows // 32, 2, 16, columns // 4, 4)
        return np.ascontiguousarray(blocks.transpose(0, 3, 1, 2, 4)), quantized.scales[:, 0, 0]
    quantized = quantize_rows(values, INT4, method=CPU_METHODS["int4"])
    unsigned = (quantized.codes.astype(np.int16) + 8).astype(np.uint8)
    halves = unsigned.reshape(rows // 32, 2, 16, columns // 8, 2, 4)
    both: Bytes = halves[..., 0, :] | halves[..., 1, :] << np.uint8(4)
    by_group = quantized.scales.reshape(rows // 32, 2, 16, columns // GROUP).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(both.transpose(0, 3, 1, 2, 4)), np.ascontiguousarray(by_group)


def pad(values: Array, *shape: int) -> Array:
    """Zeros behind the values, up to this shape."""
    if values.shape == shape:
        return values
    result = np.zeros(shape, np.float32)
    result[tuple(slice(size) for size in values.shape)] = values
    return result


def pad_heads(values: Array, *, num_heads: int, by_halves: bool) -> Array:
    """Rows (or elements) of heads that lie one after the other, each head padded by itself."""
    size = values.shape[0] // num_heads
    heads = values.reshape(num_heads, size, *values.shape[1:])
    wide = padded(size)
    if wide == size:
        return values
    result = np.zeros((num_heads, wide, *values.shape[1:]), np.float32)
    if by_halves:
        result[:, : size // 2] = heads[:, : size // 2]
        result[:, wide // 2 : wide // 2 + size // 2] = heads[:, size // 2 :]
    else:
        result[:, :size] = heads
    return result.reshape(num_heads * wide, *values.shape[1:])


def query_key_value(values: Array, *, num_heads: int, num_kv_heads: int, head_size: int) -> Array:
    """Rows (or a bias) of query, key and value, one after the other, with padded heads."""
    ends = head_size * np.array([num_heads, num_heads + num_kv_heads])
    query, key, value = np.split(values, ends)
    return np.concatenate(
        [
            pad_heads(query, num_heads=num_heads, by_halves=True),
            pad_heads(key, num_heads=num_kv_heads, by_halves=True),
            pad_heads(value, num_heads=num_kv_heads, by_halves=False),
        ]
    )


def gate_and_up(values: Array) -> Array:
    """Rows (or a bias) of gate and then of up, padded, 16 of each in turn."""
    both = np.split(values, 2)
    size = padded(both[0].shape[0])
    rest = values.shape[1:]
    gate, up = (pad(part, size, *rest).reshape(size // 16, 16, *rest) for part in both)
    in_turn: Array = np.stack([gate, up], axis=1).reshape(2 * size, *rest)
    return in_turn


def rotary_table(frequencies: tuple[float, ...], *, num_positions: int) -> Array:
    """Cosines and then sines of each position's angles; what is padded is not turned."""
    half = padded(2 * len(frequencies)) // 2
    turning = np.zeros(half)
    turning[: len(frequencies)] = frequencies
    angles = np.arange(num_positions)[:, None] * turning
    table: Array = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return table
