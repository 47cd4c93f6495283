"""What an engine may take of a machine, and of a container on it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from llmasos_runtime.machine.resources import available_memory_bytes, num_physical_cores


def cgroup(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text + "\n")
    return directory


def test_a_containers_limit_counts_less_what_it_uses(tmp_path: Path) -> None:
    limited = cgroup(tmp_path, memory_max=str(3 * 2**20), memory_current=str(2**20))
    assert available_memory_bytes(limited) == 2 * 2**20


def test_a_container_that_is_full_has_nothing_left(tmp_path: Path) -> None:
    full = cgroup(tmp_path, memory_max="1000", memory_current="2000")
    assert available_memory_bytes(full) == 0


@pytest.mark.parametrize("files", [{}, {"memory_max": "max", "memory_current": "5"}])
def test_without_a_limit_it_is_the_machines(tmp_path: Path, files: dict[str, str]) -> None:
    available = available_memory_bytes(cgroup(tmp_path, **files))
    assert available == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= num_physical_cores() <= len(os.sched_getaffinity(0))
