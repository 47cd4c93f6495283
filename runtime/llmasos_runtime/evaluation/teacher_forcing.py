"""Feeds windows of text to one engine, or several in step, and yields their predictions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_runtime.evaluation.forward import PackedForward, Part
from llmasos_runtime.evaluation.window import Window

_LOGITS_BYTES = 1 << 27
"""The most bytes of logits in one forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The logits before some neighbouring tokens of a window.

    targets: those tokens; first: the index of the first of them. logits: one array for each engine,
    [targets, vocab_size], valid until the next prediction is asked for.
    """

    window: Window
    first: int
    targets: tuple[int, ...]
    logits: tuple[NDArray[np.float32], ...]


@dataclass(slots=True, kw_only=True)
class _Reading:
    """A window that is being read; its last token is only predicted, never fed."""

    window: Window
    slot: int
    past: int = field(default=0)

    @property
    def num_left(self) -> int:
        return len(self.window.token_ids) - 1 - self.past

    def part(self, count: int) -> Part:
        wanted = min(max(self.window.first_target - 1 - self.past, 0), count)
        tokens = self.window.token_ids[self.past : self.past + count]
        return Part(slot=self.slot, past=self.past, token_ids=tokens, wanted=wanted)


def predict(
    engines: Sequence[PackedForward],
    windows: Sequence[Window],
    *,
    token_by_token: bool,
    progress: Progress,
) -> Iterator[Prediction]:
    """Predicts every target of every window once with each engine, in the same forwards.

    token_by_token: feed one token of each window at a time, many windows side by side, as in
    decoding; otherwise windows are read in chunks, as prompts are.
    """
    reader = _Reader(engines, windows, most_each=1 if token_by_token else None)
    total, done = sum(window.num_targets for window in windows), 0
    progress("evaluate", 0, total)
    while shares := reader.next_shares():
        parts = [reading.part(count) for reading, count in shares]
        rows = [engine.run(parts) for engine in engines]
        for index, (reading, count) in enumerate(shares):
            if parts[index].wanted < count:
                first = reading.past + parts[index].wanted + 1
                last = reading.past + count
                targets = reading.window.token_ids[first : last + 1]
                logits = tuple(of_engine[index] for of_engine in rows)
                yield Prediction(window=reading.window, first=first, targets=targets, logits=logits)
                done += len(targets)
        reader.commit(shares)
        progress("evaluate", done, total)


_Shares = list[tuple[_Reading, int]]


class _Reader:
    """Hands out the next tokens of the windows, one forward at a time."""

    def __init__(
        self, engines: Sequence[PackedForward], windows: Sequence[Window], *, most_each: int | None
    ) -> None:
        limits = [engine.plan.limits.max_num_tokens for engine in engines]
        rows = _LOGITS_BYTES // (4 * max(engine.plan.vocab_size for engine in engines))
        self._multiple = max(engine.chunk_multiple for engine in engines)
        self._budget = max(min(*limits, rows), self._multiple)
        self._most_each = most_each
        self._waiting = deque(windows)
        self._slots = list(range(min(engine.num_slots for engine in engines)))
        self._readings: list[_Reading] = []

    def next_shares(self) -> _Shares:
        budget = self._budget
        shares: _Shares = []
        for reading in self._readings:
            budget -= self._give(shares, reading, budget)
        while self._waiting and self._slots and budget > 0:
            reading = _Reading(window=self._waiting[0], slot=self._slots[-1])
            given = self._give(shares, reading, budget)
            if given == 0:
                break
            self._waiting.popleft()
            self._slots.pop()
            self._readings.append(reading)
            budget -= given
        return shares

    def commit(self, shares: _Shares) -> None:
        for reading, count in shares:
            reading.past += count
        for reading in [r for r in self._readings if r.num_left == 0]:
            self._readings.remove(reading)
            self._slots.append(reading.slot)

    def _give(self, shares: _Shares, reading: _Reading, budget: int) -> int:
        count = min(reading.num_left, budget, self._most_each or budget)
        if self._most_each is None and count < reading.num_left:
            count -= (reading.past + count) % self._multiple
        if count > 0:
            shares.append((reading, count))
        return max(count, 0)
