"""Progress reports of a long job: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID


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


class _Lines:
    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:  # noqa: ARG002 - Progress
        if stage != self._stage:
            self._stage = stage
            sys.stderr.write(f"{stage} ...\n")
            sys.stderr.flush()


@contextmanager
def _bar() -> Generator[Progress]:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total)

        yield report
