"""Chooses one row of a report under limits, and finds the rows that no other one beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmasos.byte_size import format_bytes
from llmasos.errors import InvalidRequestError

from llmasos_app.report.measurement import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a row must keep to; None is no limit.

    max_memory: the most bytes of memory. max_ppl_increase: the most that perplexity may grow, as
    a part of the reference's: 0.05 is 5%. min_speed: the least new tokens a second at one stream.
    """

    max_memory: int | None = None
    max_ppl_increase: float | None = None
    min_speed: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("max-memory", self.max_memory),
            ("max-ppl-increase", self.max_ppl_increase),
            ("min-speed", self.min_speed),
        ):
            if value is not None and not value >= 0:
                raise InvalidRequestError(f"{name} must be at least 0, got {value}")

    @property
    def are_any(self) -> bool:
        """Whether anything is limited."""
        return self != Limits()

    def broken_by(self, row: Measurement, reference: Measurement) -> list[str]:
        """Returns what a row breaks, in words."""
        broken = []
        if self.max_memory is not None and row.speed.memory_bytes > self.max_memory:
            broken.append(
                f"takes {format_bytes(row.speed.memory_bytes)} of memory, at most "
                f"{format_bytes(self.max_memory)} allowed"
            )
        increase = row.perplexity / reference.perplexity - 1
        if self.max_ppl_increase is not None and increase > self.max_ppl_increase:
            broken.append(
                f"has {increase:.1%} more perplexity, at most {self.max_ppl_increase:.1%} allowed"
            )
        rate = row.speed.tokens_per_s[0]
        if self.min_speed is not None and rate < self.min_speed:
            broken.append(f"gives {rate:.1f} tokens/s, at least {self.min_speed:g} asked")
        return broken


def fastest_within(
    rows: Sequence[Measurement], reference: Measurement, limits: Limits
) -> Measurement | None:
    """Returns the row that is fastest at one stream of those that keep to the limits."""
    allowed = [row for row in rows if not limits.broken_by(row, reference)]
    return max(allowed, key=lambda row: row.speed.tokens_per_s[0], default=None)


def pareto_front(rows: Sequence[Measurement]) -> list[Measurement]:
    """Returns the rows that no other one beats in both perplexity and memory, smallest first."""
    front: list[Measurement] = []
    for row in sorted(rows, key=lambda row: (row.speed.memory_bytes, row.perplexity)):
        if not front or row.perplexity < front[-1].perplexity:
            front.append(row)
    return front
