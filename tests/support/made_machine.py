"""Machines with GPUs, made up."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmasos.engine.nvidia_driver import GPU
from llmasos_runtime.tensorrt.machine import DriverReport, Library

GIB = 2**30
L4 = GPU(name="NVIDIA L4", capability="sm89", total_bytes=24 * GIB, free_bytes=22 * GIB)
H100 = GPU(name="NVIDIA H100", capability="sm90", total_bytes=80 * GIB, free_bytes=78 * GIB)


def driver(
    *gpus: GPU, cuda: tuple[int, int] = (13, 0), version: str | None = "580.65.06"
) -> DriverReport:
    return DriverReport(version=version, cuda_version=cuda, gpus=gpus)


@dataclass(kw_only=True)
class MadeMachine:
    """libraries, bindings: what is installed. report: what the driver says, None without one."""

    libraries: dict[str, Library] = field(default_factory=dict[str, Library])
    bindings: str | None = "13.5.0"
    report: DriverReport | None = field(default_factory=lambda: driver(L4))

    def library(self, name: str) -> Library | None:
        return self.libraries.get(name)

    def cuda_bindings(self) -> str | None:
        return self.bindings

    def driver(self) -> DriverReport | None:
        return self.report
