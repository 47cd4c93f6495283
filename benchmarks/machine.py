"""The machine that a comparison ran on, so that its numbers can be judged."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

NOTABLE_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
LOAD_PROBE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """cpu_flags: which of NOTABLE_FLAGS the CPU has. load_before: busy cores before the start."""

    cpu: str
    cores: int
    cpu_flags: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    load_before: float

    def summary(self) -> str:
        """One line for a table's caption."""
        flags = ", ".join(self.cpu_flags) or "no notable instructions"
        memory = self.memory_bytes / 2**30
        return f"{self.cores} cores of {self.cpu} ({flags}), {memory:.0f} GiB, {self.system}"


def describe_machine() -> Machine:
    """Look at this machine; takes a second, in which it sees how busy the machine is."""
    cores = len(os.sched_getaffinity(0))
    cpu_info = _cpu_info()
    present = set(cpu_info.get("flags", "").split())
    return Machine(
        cpu=cpu_info.get("model name", platform.processor() or "an unnamed CPU"),
        cores=cores,
        cpu_flags=tuple(flag for flag in NOTABLE_FLAGS if flag in present),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_before=psutil.cpu_percent(interval=LOAD_PROBE_S) / 100 * (os.cpu_count() or cores),
    )


def can_compute_bf16() -> bool:
    """Whether the CPU has bfloat16 instructions."""
    return bool({"avx512_bf16", "amx_bf16"} & set(_cpu_info().get("flags", "").split()))


def _cpu_info() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
