"""How many threads compute, and on which cores they stay."""

from __future__ import annotations

import os
from pathlib import Path

from llmasos_runtime.machine.resources import CGROUP, num_physical_cores

CPUS = Path("/sys/devices/system/cpu")


def num_usable_cores(cgroup: Path = CGROUP) -> int:
    """Physical cores that this process may use, within the quota of a container; 1 at least."""
    quota = _quota(cgroup / "cpu.max")
    cores = num_physical_cores()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cores_to_stay_on(cpus: Path = CPUS) -> tuple[int, ...]:
    """The CPUs that this process may use: first one of each physical core, then the others."""
    seen: set[str] = set()
    first: list[int] = []
    others: list[int] = []
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = _text(cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list") or f"{cpu}"
        (others if siblings in seen else first).append(cpu)
        seen.add(siblings)
    return (*first, *others)


def _quota(path: Path) -> float | None:
    """CPUs worth of time; None where it is not bounded."""
    words = (_text(path) or "max").split()
    if len(words) != 2 or not words[0].isdecimal():
        return None
    return int(words[0]) / int(words[1])


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
