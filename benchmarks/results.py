"""What a comparison found: plain values that become JSON, tables and a chart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.metrics import (
    Percentiles,
    Spread,
    inter_token_latencies_s,
    output_tokens_per_s,
    shared_prefix_share,
    times_to_first_token_s,
)
from benchmarks.worker import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all peers had in common."""

    checkpoint: str
    precision: str
    kv_cache_precision: str
    precision_hint: str
    max_num_tokens: int
    num_threads: int
    streams: tuple[int, ...]
    prompt_tokens: int
    new_tokens: int
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One peer at one number of streams.

    tokens_per_s, and ratio: to the product in the same round; over the rounds.
    ttft_s, itl_s: over every stream of every round.
    cpu_share: CPU seconds of the worker's own process for each second of the run.
    same_tokens: share of the output equal to the product's before the first difference;
    None where the peer gives text alone.
    """

    tokens_per_s: Spread
    ratio: Spread | None
    ttft_s: Percentiles
    itl_s: Percentiles
    cpu_share: float
    same_tokens: float | None
    rounds_tokens_per_s: tuple[float, ...]

    @classmethod
    def of(cls, runs: list[Run], product: list[Run]) -> Level:
        """runs: one for each round. product: the product's in the same rounds; none
        for the product itself and where it is missing."""
        speeds = [output_tokens_per_s(run.times_s) for run in runs]
        others = [output_tokens_per_s(run.times_s) for run in product]
        paired = list(zip(speeds, others, strict=False))
        return cls(
            tokens_per_s=Spread.of(speeds),
            ratio=Spread.of([mine / other for mine, other in paired]) if paired else None,
            ttft_s=Percentiles.of([t for r in runs for t in times_to_first_token_s(r.times_s)]),
            itl_s=Percentiles.of([t for r in runs for t in inter_token_latencies_s(r.times_s)]),
            cpu_share=sum(r.cpu_s for r in runs) / sum(r.wall_s for r in runs),
            same_tokens=_same_tokens(runs[0], product[0]) if product else None,
            rounds_tokens_per_s=tuple(speeds),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """One row. reason: why it is missing; None where it ran to the end.

    idle_cpu_share: CPU seconds that it used for each second in which another peer ran.
    details: what it computes in and keeps its KV cache in. levels: by number of streams.
    """

    name: str
    label: str
    weights: str
    is_client: bool
    reason: str | None = None
    details: str | None = None
    versions: dict[str, str] | None = None
    load_s: float | None = None
    peak_memory_bytes: int | None = None
    idle_cpu_share: float | None = None
    levels: dict[int, Level] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """build_s: seconds in which the product compiled the checkpoint, if it did."""

    date: str
    machine: Machine
    conditions: Conditions
    build_s: float | None
    peers: tuple[PeerResult, ...]

    def write(self, path: Path) -> None:
        """Whole or not at all, as on a disk that is full; raises OSError then."""
        write_whole(path, json.dumps(asdict(self), indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file, or leave what is there as it is; raises OSError then."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _same_tokens(run: Run, product: Run) -> float | None:
    if not all(run.token_ids) or not all(product.token_ids):
        return None
    return shared_prefix_share(run.token_ids, product.token_ids)
