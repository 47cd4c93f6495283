"""NVIDIA's driver, asked through its own library: its CUDA version, and the GPUs of this machine.

Nothing but the driver is needed, so that a machine without any CUDA package can be told what
it lacks. CUDA_VISIBLE_DEVICES counts, as for an engine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY, _NO_DEVICE = 2, 100  # CUDA_ERROR_...
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
_MAX_NAME = 256


class DriverError(Exception):
    """A call of the driver failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GPU:
    """capability: as in sm89. free_bytes: of its memory, at this moment."""

    name: str
    capability: str
    total_bytes: int
    free_bytes: int


class Driver:
    """The driver of this machine. Its GPUs are in the order in which CUDA counts them."""

    def __init__(self, library: Any) -> None:
        """library: libcuda, or what has its functions."""
        self._library = library

    @property
    def cuda_version(self) -> tuple[int, int]:
        """The newest CUDA that it serves, major and minor."""
        number = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(number))
        return number.value // 1000, number.value % 1000 // 10

    def gpus(self) -> tuple[GPU, ...]:
        """Every GPU that CUDA shows, with a short use of its memory. Raises DriverError."""
        return tuple(self._gpu(device) for device in self._devices())

    def capabilities(self) -> tuple[str, ...]:
        """The compute capability of every GPU that CUDA shows, as in sm89. Raises DriverError."""
        return tuple(self._capability(device) for device in self._devices())

    def _devices(self) -> list[ctypes.c_int]:
        if self._library.cuInit(0) == _NO_DEVICE:
            return []
        self._call("cuInit", 0)
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        devices = [ctypes.c_int() for _ in range(count.value)]
        for index, device in enumerate(devices):
            self._call("cuDeviceGet", ctypes.byref(device), index)
        return devices

    def _capability(self, device: ctypes.c_int) -> str:
        return f"sm{self._attribute(_MAJOR, device)}{self._attribute(_MINOR, device)}"

    def _gpu(self, device: ctypes.c_int) -> GPU:
        name = ctypes.create_string_buffer(_MAX_NAME)
        self._call("cuDeviceGetName", name, _MAX_NAME, device)
        free, total = self._memory(device)
        return GPU(
            name=name.value.decode("utf-8", "replace"),
            capability=self._capability(device),
            total_bytes=total,
            free_bytes=free,
        )

    def _attribute(self, attribute: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        return value.value

    def _memory(self, device: ctypes.c_int) -> tuple[int, int]:
        """Free and total bytes; the driver tells the first in a context alone, which needs some
        hundred MB: where even that is not free, nothing is.
        """
        context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(total), device)
        status = self._library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
        if status == _OUT_OF_MEMORY:
            return 0, total.value
        self._check("cuDevicePrimaryCtxRetain", status)
        try:
            self._call("cuCtxPushCurrent_v2", context)
            try:
                self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
            finally:
                self._call("cuCtxPopCurrent_v2", ctypes.byref(context))
        finally:
            self._call("cuDevicePrimaryCtxRelease_v2", device)
        return free.value, total.value

    def _call(self, function: str, *arguments: Any) -> None:
        self._check(function, getattr(self._library, function)(*arguments))

    def _check(self, function: str, status: int) -> None:
        if status != 0:
            name = ctypes.c_char_p()
            self._library.cuGetErrorName(status, ctypes.byref(name))
            known = f" ({name.value.decode()})" if name.value else ""
            raise DriverError(f"NVIDIA's driver answers {function} with error {status}{known}")


def find_driver(load: Callable[[str], Any] = ctypes.CDLL) -> Driver | None:
    """The driver, or None where there is none. load: opens a library by name."""
    try:
        return Driver(load(_LIBRARY))
    except OSError:
        return None
