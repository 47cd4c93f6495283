"""Progress reports of a long job: a bar on a terminal, plain lines elsewhere.

The time left is what is left of the work, at the pace since the stage began. It is said once a
twentieth of it has been seen, or 30 seconds; work that was done before, as by a run that is
resumed, counts for no pace.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID


_SECONDS_TO_TELL = 30.0


class Progress(Protocol):
    """Receives the progress of a long job: the current stage, how far it is, and the total."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


@contextmanager
def show_progress() -> Generator[Progress]:
    """A bar on stderr if that is a terminal; else one line on stderr when a stage begins."""
    if sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _Lines()


class TimeLeft:
    """Estimates how long a stage still takes from how long it has taken."""

    def __init__(self, done: int, now: float) -> None:
        self._done, self._begun = done, now

    def seconds(self, done: int, total: int, now: float) -> float | None:
        """Returns the time left; None while too little has been seen to tell."""
        seen, took = done - self._done, now - self._begun
        if seen <= 0 or (seen * 20 < total - self._done and took < _SECONDS_TO_TELL):
            return None
        return took * (total - done) / seen


def as_time(seconds: float | None) -> str:
    """Returns the words for a time that is left; none for None."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left"


class _Lines:
    """A line when a stage begins, and one each half minute of a long one."""

    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage = stage
            self._left, self._said = TimeLeft(done, now), now
            sys.stderr.write(f"{stage} ...\n")
        elif now - self._said >= _SECONDS_TO_TELL and done < total:
            self._said = now
            left = as_time(self._left.seconds(done, total, now))
            sys.stderr.write(f"{stage}: {done / total:.0%}, {left}\n" if left else "")
        sys.stderr.flush()


@contextmanager
def _bar() -> Generator[Progress]:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    left = TextColumn("{task.fields[left]}")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), left)
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, tuple[TaskID, TimeLeft]] = {}

        def report(stage: str, done: int, total: int) -> None:
            now = time.monotonic()
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, left=""), TimeLeft(done, now)
            task, pace = tasks[stage]
            words = as_time(pace.seconds(done, total, now)) if done < total else ""
            bar.update(task, completed=done, total=total, left=words)

        yield report
