"""The resources of this machine, or of the container on it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
CPU_INFO = Path("/proc/cpuinfo")
_FEATURES = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_bf16", "amx_int8", "asimd", "sve", "i8mm", "bf16"),
)
"""Instructions that matrix kernels use, by Linux's names."""


def num_physical_cores() -> int:
    """The number of physical cores that this process may use, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


def cpu_features(cpu_info: Path = CPU_INFO) -> tuple[str, ...]:
    """The matrix instructions of the processor; cpu_info: the kernel's description of it."""
    for line in cpu_info.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            known = set(value.split())
            return tuple(feature for feature in _FEATURES if feature in known)
    return ()


def available_memory_bytes(cgroup: Path = CGROUP) -> int:
    """Memory that is available without swapping and within the limit of a container.

    cgroup: the control group of this process (version 2, as containers have it).
    """
    available = int(psutil.virtual_memory().available)
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is None or used is None:
        return available
    return max(0, min(available, limit - used))


def resident_bytes() -> int:
    """Memory of this process that is not swapped out."""
    return int(psutil.Process().memory_info().rss)


def _number(path: Path) -> int | None:
    """None if there is no such file, or it says `max`."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
