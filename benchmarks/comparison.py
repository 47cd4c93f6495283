"""Every peer under the same conditions, in turns, so that a drift of the machine hits all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.catalogue import PRODUCT, PeerSpec
from benchmarks.environments import MissingPeerError
from benchmarks.peers.peer import PeerSettings, Prompt
from benchmarks.results import Conditions, Level, PeerResult
from benchmarks.worker import Load, Run, Worker

WARM_UP_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """A peer that can be started: its Python, its model, and where its messages go."""

    python: Path
    settings: PeerSettings
    log: Path


Prepare = Callable[[PeerSpec], Preparation]
"""Installs and converts what a peer needs; raises MissingPeerError."""

Report = Callable[[str], None]
"""Takes one line on what is going on."""


@dataclass(slots=True, eq=False, kw_only=True)
class Entry:
    """A peer that takes part. It runs while it has a worker; a reason says why it left."""

    spec: PeerSpec
    worker: Worker | None = None
    load: Load | None = None
    reason: str | None = None
    runs: dict[int, list[Run]] = field(default_factory=dict[int, list[Run]])
    idle_cpu_s: float = 0.0
    idle_wall_s: float = 0.0

    def leave(self, reason: str | None = None) -> None:
        """End the worker; with a reason, its runs do not count."""
        self.reason = reason
        if self.worker is not None:
            self.worker.close()
            self.worker = None


class Comparison:
    """Runs every entry once for each number of streams in each round.

    settle_s: the pause before each run, in which threads that spin on after the run
    before go to sleep.
    """

    def __init__(
        self,
        conditions: Conditions,
        prompts: Sequence[Prompt],
        *,
        report: Report,
        settle_s: float = 0.3,
    ) -> None:
        self._conditions = conditions
        self._prompts = prompts
        self._report = report
        self._settle_s = settle_s

    def run(self, specs: Sequence[PeerSpec], prepare: Prepare) -> tuple[PeerResult, ...]:
        """One result for each peer, in their order."""
        entries = [Entry(spec=spec) for spec in specs]
        try:
            for entry in entries:
                self._start(entry, prepare)
            for number in range(self._conditions.rounds):
                self._round(number, [entry for entry in entries if entry.worker is not None])
        finally:
            for entry in entries:
                if entry.worker is not None:
                    entry.leave()
        return tuple(_result(entry, _product_runs(entries)) for entry in entries)

    def _start(self, entry: Entry, prepare: Prepare) -> None:
        """Load the peer and let it run everything once, which is not measured."""
        spec = entry.spec
        try:
            self._report(f"{spec.label}: preparing")
            ready = prepare(spec)
            threads = {"OMP_NUM_THREADS": str(self._conditions.num_threads)}
            entry.worker = Worker(ready.python, spec.module, log=ready.log, variables=threads)
            entry.load = entry.worker.load(ready.settings, packages=spec.packages)
            self._report(f"{spec.label}: loaded in {entry.load.load_s:.1f} s")
            for streams in self._conditions.streams:
                count = min(WARM_UP_TOKENS, self._conditions.new_tokens)
                entry.worker.run(self._prompts[:streams], count)
        except MissingPeerError as error:
            self._report(f"{spec.label}: missing: {error}")
            entry.leave(str(error))

    def _round(self, number: int, entries: Sequence[Entry]) -> None:
        """Each round begins with another peer, so that none always follows the same one."""
        if not entries:
            return
        first = number % len(entries)
        for streams in self._conditions.streams:
            for entry in [*entries[first:], *entries[:first]]:
                self._measure(entry, streams, entries)
        self._report(f"round {number + 1} of {self._conditions.rounds} done")

    def _measure(self, entry: Entry, streams: int, entries: Sequence[Entry]) -> None:
        if entry.worker is None:
            return
        time.sleep(self._settle_s)
        others = [other for other in entries if other is not entry and other.worker is not None]
        before = [_cpu_time_s(other) for other in others]
        start = time.perf_counter()
        try:
            run = entry.worker.run(self._prompts[:streams], self._conditions.new_tokens)
        except MissingPeerError as error:
            self._report(f"{entry.spec.label}: failed: {error}")
            entry.leave(str(error))
            return
        wall_s = time.perf_counter() - start
        entry.runs.setdefault(streams, []).append(run)
        for other, earlier in zip(others, before, strict=True):
            other.idle_cpu_s += _cpu_time_s(other) - earlier
            other.idle_wall_s += wall_s


def _cpu_time_s(entry: Entry) -> float:
    return entry.worker.cpu_time_s() if entry.worker is not None else 0.0


def _product_runs(entries: Sequence[Entry]) -> dict[int, list[Run]]:
    """The runs that ratios refer to; none when the product does not take part or failed."""
    product = (e for e in entries if e.spec.name == PRODUCT and e.reason is None)
    return next((entry.runs for entry in product), {})


def _result(entry: Entry, product: dict[int, list[Run]]) -> PeerResult:
    spec = entry.spec
    if entry.reason is not None or entry.load is None:
        return PeerResult(
            name=spec.name,
            label=spec.label,
            weights=spec.weights,
            is_client=spec.is_client,
            reason=entry.reason or "it was not started",
        )
    references = {} if spec.name == PRODUCT else product
    return PeerResult(
        name=spec.name,
        label=spec.label,
        weights=spec.weights,
        is_client=spec.is_client,
        details=entry.load.details,
        versions=entry.load.versions,
        load_s=entry.load.load_s,
        peak_memory_bytes=max(r.peak_memory_bytes for runs in entry.runs.values() for r in runs),
        idle_cpu_share=entry.idle_cpu_s / entry.idle_wall_s if entry.idle_wall_s else None,
        levels={
            streams: Level.of(runs, references.get(streams, []))
            for streams, runs in entry.runs.items()
        },
    )
