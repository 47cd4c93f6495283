"""What a machine has for engines on NVIDIA GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from llmasos.engine.nvidia_driver import GPU, DriverError, find_driver

DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "tensorrt_rtx": ("tensorrt_rtx_cu13", "tensorrt_rtx_cu12"),
    "tensorrt": ("tensorrt_cu13", "tensorrt_cu12", "tensorrt"),
}
"""The packages that bring a library, by its name in Python; one is for one CUDA."""
_DRIVER_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """An installed TensorRT. cuda_major: the CUDA that it is made for, if its name says so."""

    version: str
    cuda_major: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverReport:
    """What NVIDIA's driver says.

    version: as in 580.65.06, if the kernel shows it. cuda_version: the newest that it serves,
    major and minor. gpus: in the order in which CUDA counts them. error: why there are none,
    when the driver gave an error.
    """

    version: str | None
    cuda_version: tuple[int, int]
    gpus: tuple[GPU, ...]
    error: str | None = None


class Machine(Protocol):
    """Answers what an engine wants to know before it is loaded."""

    def library(self, name: str) -> Library | None:
        """A TensorRT by its name in Python, None where it is not installed."""
        ...

    def cuda_bindings(self) -> str | None:
        """The version of CUDA's interface for Python, None where it is not installed."""
        ...

    def driver(self) -> DriverReport | None:
        """None where there is no driver."""
        ...


class ThisMachine:
    """The machine that this runs on. Its GPUs have never been asked."""

    def library(self, name: str) -> Library | None:
        for distribution in DISTRIBUTIONS[name]:
            found = installed_version(distribution)
            if found is not None:
                cuda = re.search(r"_cu(\d+)$", distribution)
                return Library(version=found, cuda_major=int(cuda[1]) if cuda else None)
        return None

    def cuda_bindings(self) -> str | None:
        return installed_version("cuda_bindings")

    def driver(self) -> DriverReport | None:
        driver = find_driver()
        if driver is None:
            return None
        gpus: tuple[GPU, ...] = ()
        error: str | None = None
        try:
            gpus = driver.gpus()
        except DriverError as failure:
            error = str(failure)
        return DriverReport(
            version=kernel_driver_version(),
            cuda_version=driver.cuda_version,
            gpus=gpus,
            error=error,
        )


def installed_version(distribution: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def kernel_driver_version(path: Path = _DRIVER_FILE) -> str | None:
    """The version of the driver in the kernel, None where that does not show it."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    return None if found is None else found[1]
