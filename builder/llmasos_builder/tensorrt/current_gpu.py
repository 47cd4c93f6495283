"""Finds the GPU of the machine that builds, through NVIDIA's driver."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llmasos.engine.nvidia_driver import DriverError, find_driver
from llmasos.errors import PlanError


def current_gpu(load: Callable[[str], Any] = ctypes.CDLL) -> str:
    """Returns the compute capability of the first GPU, such as sm90; load: opens a library by name.

    Raises PlanError if there is no driver or no GPU.
    """
    driver = find_driver(load)
    if driver is None:
        raise _no_gpu("it has no NVIDIA driver")
    try:
        capabilities = driver.capabilities()
    except DriverError as error:
        raise _no_gpu("its NVIDIA driver does not answer") from error
    if not capabilities:
        raise _no_gpu("its NVIDIA driver finds no GPU")
    return capabilities[0]


def _no_gpu(why: str) -> PlanError:
    return PlanError(
        f"gpu current is the GPU of this machine, and {why}", hint="name a gpu, such as sm89"
    )
