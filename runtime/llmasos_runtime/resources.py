"""What this machine, or the container on it, has for an engine."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def num_physical_cores() -> int:
    """Physical cores that this process may use; 1 at least."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


def available_memory_bytes(cgroup: Path = CGROUP) -> int:
    """Memory that can be had without swapping, and within the limit of a container.

    cgroup: where the control group of this process is seen (version 2, as containers have it).
    """
    available = int(psutil.virtual_memory().available)
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is None or used is None:
        return available
    return max(0, min(available, limit - used))


def _number(path: Path) -> int | None:
    """None where there is no such file, or it says `max`."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
