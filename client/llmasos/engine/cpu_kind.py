"""Which machine code this machine's processor runs."""

from __future__ import annotations

from pathlib import Path

from llmasos.engine.native_engine import CPU_KINDS

CPU_INFO = Path("/proc/cpuinfo")


def cpu_flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """The instructions of the processor, as Linux calls them; cpu_info: what the kernel says."""
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def this_cpu_kind(cpu_info: Path = CPU_INFO) -> str | None:
    """The first of `CPU_KINDS` whose instructions are all there, if any."""
    flags = cpu_flags(cpu_info)
    return next((name for name, kind in CPU_KINDS.items() if flags.issuperset(kind.flags)), None)
