"""The short form of `make soak`: clients that hang up at random leave nothing behind."""

from __future__ import annotations

from pathlib import Path

from soak import faults, soak


def test_rude_clients_change_no_other_answer_and_leave_nothing(tiny_repository: Path) -> None:
    report = soak(str(tiny_repository), seconds=6, clients=40, signals=False)
    assert not faults(report, growth=None), report
    assert report["ends"]["left"] > 10
    assert report["ends"]["whole"] > 10
    assert report["steady"] > 3
