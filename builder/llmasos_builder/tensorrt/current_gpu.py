"""Which GPU this machine has, asked of NVIDIA's driver. It has not run with one yet."""

from __future__ import annotations

import ctypes

from llmasos.errors import PlanError

_DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...


def current_gpu(driver_library: str = _DRIVER) -> str:
    """The compute capability of the first GPU, as in sm90.

    Raises PlanError if there is no driver or no GPU.
    """
    try:
        driver = ctypes.CDLL(driver_library)
    except OSError as error:
        raise _no_gpu("it has no NVIDIA driver") from error
    if driver.cuInit(0) != 0:
        raise _no_gpu("its NVIDIA driver finds no GPU")
    return f"sm{_attribute(driver, _MAJOR)}{_attribute(driver, _MINOR)}"


def _attribute(driver: ctypes.CDLL, attribute: int) -> int:
    value = ctypes.c_int()
    if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0) != 0:
        raise _no_gpu("its NVIDIA driver does not answer")
    return value.value


def _no_gpu(why: str) -> PlanError:
    return PlanError(
        f"gpu current is the GPU of this machine, and {why}", hint="name a gpu, such as sm89"
    )
