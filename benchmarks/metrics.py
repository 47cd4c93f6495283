"""The speed of a run, from the moments at which its tokens came.

Time zero is when all streams were submitted, together.
TTFT: from there to a stream's first token. ITL: each gap between two tokens of a stream.
Output tokens per second: all tokens over the time to the very last one, so that reading
the prompts (prefill) counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

TokenTimes = Sequence[Sequence[float]]
"""For each stream, the seconds after submission at which each token came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle and the ends of what several rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median=median(values), low=min(values), high=max(values))

    @property
    def holds_one(self) -> bool:
        """Whether 1.0 lies in the range: a ratio of which this is true counts as level."""
        return self.low <= 1.0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Half of the values are at most p50, 95 in 100 at most p95."""

    p50: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        return cls(p50=percentile(values, 50), p95=percentile(values, 95))


def output_tokens_per_s(times_s: TokenTimes) -> float:
    """Tokens of all streams over the seconds from submission to the last token."""
    return sum(map(len, times_s)) / max(stream[-1] for stream in times_s)


def times_to_first_token_s(times_s: TokenTimes) -> list[float]:
    """One value for each stream."""
    return [stream[0] for stream in times_s]


def inter_token_latencies_s(times_s: TokenTimes) -> list[float]:
    """Every gap of every stream; tokens that came together have gaps of 0."""
    return [later - earlier for stream in times_s for earlier, later in pairwise(stream)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of 100 values do not exceed, interpolated between neighbours."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def shared_prefix_share(tokens: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> float:
    """How much of the streams is equal up to their first difference, from 0 to 1."""
    shares = [
        _shared_prefix(mine, theirs) / len(mine)
        for mine, theirs in zip(tokens, others, strict=True)
    ]
    return sum(shares) / len(shares)


def _shared_prefix(mine: Sequence[int], theirs: Sequence[int]) -> int:
    pairs = enumerate(zip(mine, theirs, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(mine), len(theirs)))
