"""Memory of a native engine: what a pass needs, and the arrays it is made of."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.engine.native_engine import (
    ALIGNMENT,
    BEST_BYTES,
    BLOCK_SIZE,
    GROUP,
    HEAD_BLOCKS,
    MAX_ROWS,
    ROWS_ALONE,
    AttentionScratch,
    FileField,
    KVBlock,
    LayerField,
    NativeRecord,
    padded,
)
from llmasos.engine.plan import EnginePlan, Limits
from llmasos.errors import PlanError
from numpy.typing import NDArray

from llmasos_runtime.kv_cache.blocks import blocks_for

_PAGE = 1 << 21
_HUGE_PAGES = 14  # MADV_HUGEPAGE
_SOON = 3  # MADV_WILLNEED
_ANY_ADDRESS = frozenset(set(LayerField) - {LayerField.SCORE_SCALE, LayerField.WINDOW})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of a network as the kernels see it, all padded, and of one pass through it.

    head, num_heads, num_kv_heads: of attention. max_rows: tokens of a pass.
    """

    hidden: int
    inner: int
    head: int
    num_heads: int
    num_kv_heads: int
    num_layers: int
    max_rows: int
    max_seq_len: int
    num_threads: int

    @classmethod
    def of(cls, plan: EnginePlan, record: NativeRecord, *, num_threads: int) -> Sizes:
        """Sizes of a plan's network."""
        return cls(
            hidden=padded(record.hidden_size),
            inner=padded(record.intermediate_size),
            head=padded(plan.head_size),
            num_heads=record.num_heads,
            num_kv_heads=plan.num_kv_heads,
            num_layers=plan.num_layers,
            max_rows=max_rows(plan.limits),
            max_seq_len=plan.limits.max_seq_len,
            num_threads=num_threads,
        )

    @property
    def block_bytes(self) -> int:
        """One block of the KV cache, in all layers."""
        return self.num_layers * self.num_kv_heads * KVBlock(self.head).num_bytes

    @property
    def max_blocks(self) -> int:
        """Blocks of one sequence."""
        return blocks_for(self.max_seq_len, BLOCK_SIZE)

    @property
    def buffers(self) -> dict[str, int]:
        """Bytes of each buffer of a pass; names as in `StepField`."""
        rows, wide = self.max_rows, self.num_heads * self.head
        scratch = AttentionScratch(self.head, self.num_heads // self.num_kv_heads)
        return {
            "x": 4 * rows * self.hidden,
            "qkv": 4 * rows * max(wide + 2 * self.num_kv_heads * self.head, self.hidden),
            "act": _quantized(rows, self.hidden),
            "attn": _quantized(rows, wide),
            "mid": _quantized(rows, self.inner),
            "own": self.num_threads * self.own_size,
            "temp": self.num_threads * self.temp_size,
            "scratch": self.num_threads * padded(scratch.num_bytes(self.max_seq_len), ALIGNMENT),
            "best": self.num_threads * rows * BEST_BYTES,
            "tokens": 4 * rows,
            "positions": 4 * rows,
            "seq_start": 4 * (rows + 1),
            "sample_rows": 4 * rows,
            "tables": 4 * rows * self.max_blocks,
        }

    @property
    def own_size(self) -> int:
        """Bytes of normalized rows that one thread keeps for itself."""
        return padded(_quantized(max(self.max_rows, ROWS_ALONE), self.hidden), ALIGNMENT)

    @property
    def temp_size(self) -> int:
        """Bytes of products that one thread reduces at once."""
        return self.max_rows * max(512, 128 * HEAD_BLOCKS)

    @property
    def num_bytes(self) -> int:
        """All buffers."""
        return sum(padded(size, ALIGNMENT) for size in self.buffers.values())


def max_rows(limits: Limits) -> int:
    """Tokens of one pass."""
    return min(MAX_ROWS, limits.max_num_tokens)


def _quantized(rows: int, width: int) -> int:
    """Signed bytes, and a scale and a sum for each group."""
    return rows * (width + width // GROUP * 8)


class Memory:
    """Zeros in large pages, given out in multiples of 64 bytes."""

    def __init__(self, num_bytes: int) -> None:
        try:
            self._map = mmap.mmap(-1, num_bytes + _PAGE)
        except OSError as error:
            raise PlanError(f"{num_bytes} bytes of memory cannot be had: {error}") from error
        self._map.madvise(_HUGE_PAGES)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._next = -self._bytes.ctypes.data % _PAGE

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """The next bytes that are free."""
        found = self._bytes[self._next : self._next + num_bytes]
        assert found.nbytes == num_bytes, "the memory was counted wrongly"
        self._next += padded(num_bytes, ALIGNMENT)
        return found


class Weights:
    """The weights' file, mapped. addresses: of `FileField`; layers: [layers][`LayerField`]."""

    def __init__(self, path: Path, *, num_layers: int) -> None:
        with path.open("rb") as stream:
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._map.madvise(_SOON)
        self.content = np.frombuffer(self._map, np.uint8)
        count = len(FileField) + len(LayerField) * num_layers
        header = self.content[: 8 * count].view(np.int64)
        base = self.content.ctypes.data
        offsets = header[: len(FileField)]
        self.addresses: NDArray[np.int64] = np.where(offsets == 0, 0, offsets + base)
        self.layers = header[len(FileField) :].reshape(num_layers, len(LayerField)).copy()
        self._check(path, header)
        for field in _ANY_ADDRESS:
            column: NDArray[Any] = self.layers[:, field]
            column[column != 0] += base

    def _check(self, path: Path, header: NDArray[np.int64]) -> None:
        """Offsets that lead out of the file would end the process."""
        of_layers = self.layers[:, sorted(_ANY_ADDRESS)].ravel()
        offsets = np.concatenate([header[: len(FileField)], of_layers])
        if offsets.min() < 0 or offsets.max() >= self.content.size:
            raise PlanError(f"{path} does not hold the parts that it names")
