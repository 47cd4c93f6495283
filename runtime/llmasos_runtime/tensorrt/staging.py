"""Copies a step's inputs to the GPU, and its outputs back, in one copy each.

The arrays of all launches lie one after the other, in memory of the host and of the GPU alike,
each at a multiple of 256 bytes, as TensorRT requires.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmasos_runtime.tensorrt.cuda import Cuda, CudaError, DeviceMemory, PinnedMemory, Stream

ALIGNMENT = 256


def aligned(num_bytes: int) -> int:
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT


def twins(cuda: Cuda, device_bytes: int, host_bytes: int) -> tuple[DeviceMemory, PinnedMemory]:
    """Allocates GPU and host memory: both, or, if that raises CudaError, neither."""
    device = DeviceMemory(cuda, device_bytes)
    try:
        return device, PinnedMemory(cuda, host_bytes)
    except CudaError:
        device.close()
        raise


class _Twin:
    """Memory of the same size on the host and on the GPU, filled from its beginning."""

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self.device, self.host = twins(cuda, num_bytes, num_bytes)
        self.used = 0

    def take(self, num_bytes: int) -> int:
        """Reserves the next bytes and returns their offset."""
        place, self.used = self.used, self.used + aligned(num_bytes)
        assert self.used <= self.device.num_bytes, f"{self.used} bytes are staged for a step"
        return place

    def close(self) -> None:
        self.host.close()
        self.device.close()


class StagedInputs:
    """Input arrays that are collected, then sent together."""

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self._memory = _Twin(cuda, num_bytes)

    def clear(self) -> None:
        self._memory.used = 0

    def put(self, array: NDArray[np.int32]) -> int:
        """Stages an array and returns its address on the GPU, valid once everything was sent."""
        memory = self._memory
        place = memory.take(array.nbytes)
        memory.host.array[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)
        return memory.device.address + place

    def send(self, stream: Stream) -> None:
        stream.copy_in(self._memory.device, self._memory.host, self._memory.used)

    def close(self) -> None:
        self._memory.close()


class StagedOutputs:
    """Output memory that is reserved, then fetched together."""

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self._memory = _Twin(cuda, num_bytes)

    def clear(self) -> None:
        self._memory.used = 0

    def floats(self, shape: tuple[int, ...]) -> tuple[int, NDArray[np.float32]]:
        """Returns an address on the GPU, and the array of its content once everything was
        fetched.
        """
        address, content = self._room(4 * math.prod(shape))
        return address, content.view(np.float32).reshape(shape)

    def ints(self, shape: tuple[int, ...]) -> tuple[int, NDArray[np.int32]]:
        """Does the same as `floats` for int32."""
        address, content = self._room(4 * math.prod(shape))
        return address, content.view(np.int32).reshape(shape)

    def _room(self, num_bytes: int) -> tuple[int, NDArray[np.uint8]]:
        memory = self._memory
        place = memory.take(num_bytes)
        return memory.device.address + place, memory.host.array[place : place + num_bytes]

    def fetch(self, stream: Stream) -> None:
        memory = self._memory
        stream.copy_out(memory.host.address, memory.device.address, memory.used)

    def close(self) -> None:
        self._memory.close()
