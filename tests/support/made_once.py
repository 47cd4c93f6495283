"""What a whole run of tests shares, also where it has several processes (`pytest -n 2`)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from pytest import TempPathFactory


def made_once(factory: TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The path `name` of this run; the first process that asks for it makes it."""
    base = factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    is_made = path.with_name(f"{path.name}.made")
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_made.exists():
            make(path)
            is_made.touch()
    return path
