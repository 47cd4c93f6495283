"""What a peer is: something that continues many prompts at once and notes when each token came.

A peer runs in its own process, with the Python of its own virtual environment, so this
module and every peer import only the standard library, numpy and the peer's own package.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

KV_CACHE_GIB = 1
"""Room for the KV cache where a peer wants to be told, ample for 32 streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """What every peer is told, so that all run under the same conditions.

    model: what this peer loads (a directory or a file, see `benchmarks.catalogue`).
    max_streams: the most prompts at once. max_num_tokens: the most tokens in one step.
    max_seq_len: prompt and output tokens of one stream.
    precision_hint: what OpenVINO may compute in, `bf16` or `f32`.
    kv_cache_precision: `u8`, `bf16` or `f32`; a peer takes its nearest form.
    """

    model: str
    num_threads: int
    max_streams: int
    max_num_tokens: int
    max_seq_len: int
    precision_hint: str
    kv_cache_precision: str

    @property
    def precisions(self) -> str:
        """The details of a peer that does just as it is told."""
        return f"computes in {self.precision_hint}, KV cache in {self.kv_cache_precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The same prompt as text and as token ids; encoding the text gives the ids."""

    text: str
    token_ids: tuple[int, ...]


class Recording:
    """The tokens of every stream and when they came, in seconds after the recording began."""

    def __init__(self, num_streams: int) -> None:
        self.token_ids: list[list[int]] = [[] for _ in range(num_streams)]
        self.times_s: list[list[float]] = [[] for _ in range(num_streams)]
        self._start = time.perf_counter()

    def add(self, stream: int, token_ids: Sequence[int]) -> None:
        """Note tokens that have just come."""
        self.add_times(stream, len(token_ids))
        self.token_ids[stream].extend(map(int, token_ids))

    def add_times(self, stream: int, count: int) -> None:
        """Note that `count` tokens have just come, where the peer gives text and no ids."""
        elapsed = time.perf_counter() - self._start
        self.times_s[stream].extend([elapsed] * count)


class Peer(Protocol):
    """details: in a few words, what it computes in and keeps its KV cache in."""

    details: str

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        """Continue all prompts at once, greedily and past any end token; return when all have."""
        ...

    def peak_memory_bytes(self) -> int:
        """The most memory that serving has taken so far, in this and in its own processes."""
        ...

    def close(self) -> None: ...


def peak_resident_bytes(process_id: int | str = "self") -> int:
    """The highest resident set size of a process (VmHWM, see proc(5))."""
    for line in Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{process_id}/status has no VmHWM line")
