"""What this machine has for an engine."""

from __future__ import annotations

import os

import psutil


def num_physical_cores() -> int:
    """Physical cores that this process may use; 1 at least."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


def available_memory_bytes() -> int:
    """Memory that can be had without swapping."""
    return int(psutil.virtual_memory().available)
