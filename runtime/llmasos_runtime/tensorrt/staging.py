"""What a step brings to the GPU and takes from it, each in one copy.

The arrays of all launches lie one after the other, in memory of the host and of the GPU alike,
each at a multiple of 256 bytes, as TensorRT wants its tensors.
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
    """Memory of the GPU and of the host: both or, where that raises CudaError, none."""
    device = DeviceMemory(cuda, device_bytes)
    try:
        return device, PinnedMemory(cuda, host_bytes)
    except CudaError:
        device.close()
        raise


class _Twin:
    """Memory of the host and of the GPU, of one size, filled from its beginning on."""

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self.device, self.host = twins(cuda, num_bytes, num_bytes)
        self.used = 0

    def take(self, num_bytes: int) -> int:
        """The place of the next bytes."""
        place, self.used = self.used, self.used + aligned(num_bytes)
        assert self.used <= self.device.num_bytes, f"{self.used} bytes are staged for a step"
        return place

    def close(self) -> None:
        self.host.close()
        self.device.close()


class StagedInputs:
    """Arrays that are put in, then sent together."""

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self._memory = _Twin(cuda, num_bytes)

    def clear(self) -> None:
        self._memory.used = 0

    def put(self, array: NDArray[np.int32]) -> int:
        """Its address on the GPU, where it is once it was sent."""
        memory = self._memory
        place = memory.take(array.nbytes)
        memory.host.array[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)
        return memory.device.address + place

    def send(self, stream: Stream) -> None:
        stream.copy_in(self._memory.device, self._memory.host, self._memory.used)

    def close(self) -> None:
        self._memory.close()


class StagedOutputs:
    """Room that is given out, then fetched together."""

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self._memory = _Twin(cuda, num_bytes)

    def clear(self) -> None:
        self._memory.used = 0

    def floats(self, shape: tuple[int, ...]) -> tuple[int, NDArray[np.float32]]:
        """An address on the GPU, and the array of what is there once it was fetched."""
        address, content = self._room(4 * math.prod(shape))
        return address, content.view(np.float32).reshape(shape)

    def ints(self, shape: tuple[int, ...]) -> tuple[int, NDArray[np.int32]]:
        """As `floats`."""
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
