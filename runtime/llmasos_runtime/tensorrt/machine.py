"""A machine's libraries, driver and GPUs for TensorRT engines."""

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
"""Packages that provide a library, by its name in Python; one for each CUDA."""
_DRIVER_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """An installed TensorRT. cuda_major: the CUDA that it was built for, if its name says so."""

    version: str
    cuda_major: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverReport:
    """The report of NVIDIA's driver.

    version: such as 580.65.06, if the kernel shows it. cuda_version: the newest CUDA that it
    supports, major and minor. gpus: in CUDA's order. error: the driver's error, if it found no
    GPUs.
    """

    version: str | None
    cuda_version: tuple[int, int]
    gpus: tuple[GPU, ...]
    error: str | None = None


class Machine(Protocol):
    """Answers the questions that are asked before an engine is loaded."""

    def library(self, name: str) -> Library | None:
        """Returns a TensorRT by its name in Python; None if it is not installed."""
        ...

    def cuda_bindings(self) -> str | None:
        """Returns the version of CUDA's Python bindings; None if they are not installed."""
        ...

    def driver(self) -> DriverReport | None:
        """Returns the driver's report; None without a driver."""
        ...


class ThisMachine:
    """The machine that this runs on. Its GPUs have never been queried."""

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
    """The version of the driver in the kernel; None if the kernel does not show it."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    return None if found is None else found[1]
