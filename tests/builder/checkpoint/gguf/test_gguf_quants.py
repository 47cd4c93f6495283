"""The quantized types of llama.cpp: values from blocks that are packed here, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGUFWriter
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize
from llmasos_builder.checkpoint.gguf import file as gguf_file
from llmasos_builder.checkpoint.gguf.checkpoint import READABLE
from llmasos_builder.checkpoint.gguf.file import GGUFFile
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Values = NDArray[np.float32]
SUPER_BLOCK = 256


def half(value: float) -> bytes:
    return np.float16(value).tobytes()


def packed_scales(scales: Any, minima: Any) -> bytes:
    """Eight pairs of 6 bits in 12 bytes, as ggml's get_scale_min_k4 takes them apart."""
    packed = [0] * 12
    for j in range(4):
        packed[j] = int(scales[j]) | (int(scales[j + 4]) >> 4) << 6
        packed[j + 4] = int(minima[j]) | (int(minima[j + 4]) >> 4) << 6
        packed[j + 8] = int(scales[j + 4]) & 15 | (int(minima[j + 4]) & 15) << 4
    return bytes(packed)


def low_halves(quants: Any) -> bytes:
    """Four bits of each value: of every 64, the first 32 in the low halves of bytes."""
    runs = (quants & 15).reshape(4, 2, 32)
    return bytes((runs[:, 0] | runs[:, 1] << 4).astype(np.uint8).ravel())


def q4_k(draw: np.random.Generator, *, bits: int = 4) -> tuple[bytes, Values]:
    quants = draw.integers(0, 1 << bits, SUPER_BLOCK)
    scales, minima = draw.integers(0, 64, 8), draw.integers(0, 64, 8)
    values = 0.5 * np.repeat(scales, 32) * quants - 0.25 * np.repeat(minima, 32)
    high = b""
    if bits == 5:  # bit b of byte l is that of the value l in the b-th 32
        fifth = (quants >> 4).reshape(8, 32)
        high = bytes(sum(fifth[b] << b for b in range(8)).astype(np.uint8))
    block = half(0.5) + half(0.25) + packed_scales(scales, minima) + high + low_halves(quants)
    return block, values.astype(np.float32)


def q5_k(draw: np.random.Generator) -> tuple[bytes, Values]:
    return q4_k(draw, bits=5)


def q6_k(draw: np.random.Generator) -> tuple[bytes, Values]:
    quants = draw.integers(0, 64, SUPER_BLOCK)
    scales = draw.integers(-128, 128, 16)
    low, high = b"", b""
    for first, second, third, fourth in quants.reshape(2, 4, 32):
        low += bytes((first & 15 | (third & 15) << 4).astype(np.uint8))
        low += bytes((second & 15 | (fourth & 15) << 4).astype(np.uint8))
        parts = enumerate((first, second, third, fourth))
        high += bytes(sum((part >> 4) << 2 * i for i, part in parts).astype(np.uint8))
    values = 0.125 * np.repeat(scales, 16) * (quants - 32)
    block = low + high + bytes(scales.astype(np.int8)) + half(0.125)
    return block, values.astype(np.float32)


def q8_0(draw: np.random.Generator) -> tuple[bytes, Values]:
    quants = draw.integers(-128, 128, 32)
    return half(0.5) + bytes(quants.astype(np.int8)), (0.5 * quants).astype(np.float32)


PACKED: dict[Kind, Callable[[np.random.Generator], tuple[bytes, Values]]] = {
    Kind.Q4_K: q4_k,
    Kind.Q5_K: q5_k,
    Kind.Q6_K: q6_k,
    Kind.Q8_0: q8_0,
}


def written(path: Path, kind: Kind, rows: Bytes) -> GGUFFile:
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("padding", np.ones(3, np.float32))
    writer.add_tensor("w", rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GGUFFile(path)


@pytest.mark.parametrize("chunk_bytes", [1, 4000, 1 << 24])
@pytest.mark.parametrize("kind", PACKED, ids=lambda kind: kind.name)
def test_packed_blocks_become_their_values(
    tmp_path: Path, kind: Kind, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows are read at a time."""
    monkeypatch.setattr(gguf_file, "_CHUNK_BYTES", chunk_bytes)
    draw = np.random.default_rng(0)
    blocks = [PACKED[kind](draw) for _ in range(7 * 2)]
    rows = np.frombuffer(b"".join(block for block, _ in blocks), np.uint8).reshape(7, -1)
    expected = np.concatenate([values for _, values in blocks]).reshape(7, -1)
    file = written(tmp_path / "m.gguf", kind, rows)
    entry = file.tensors["w"]
    assert entry.shape == expected.shape
    assert np.array_equal(file.read(entry), expected)


@pytest.mark.parametrize("kind", READABLE, ids=lambda kind: kind.name)
def test_every_type_is_read_as_the_library_reads_it(tmp_path: Path, kind: Kind) -> None:
    block, block_bytes = GGML_QUANT_SIZES[kind]
    width = max(block, SUPER_BLOCK)
    size = (5, width // block * block_bytes)
    rows = np.random.default_rng(0).integers(0, 60, size).astype(np.uint8)  # no half is NaN
    file = written(tmp_path / "m.gguf", kind, rows)
    values = file.read(file.tensors["w"])
    assert values.shape == (5, width) and np.isfinite(values).all() and values.any()
    assert np.array_equal(values, dequantize(rows, kind).reshape(5, width))
