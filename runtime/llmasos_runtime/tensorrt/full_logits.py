"""Logits of the whole vocabulary, which stay on the GPU unless a row's choice needs them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmasos_runtime.tensorrt.cuda import Cuda, Stream
from llmasos_runtime.tensorrt.staging import ALIGNMENT, aligned, twins


class FullLogits:
    """Rows of a step, in the order of its launches; any of them can be fetched.

    num_rows: rows of all launches of a step. num_fetched: rows that are fetched at once.
    """

    def __init__(
        self, cuda: Cuda, stream: Stream, *, num_rows: int, num_fetched: int, vocab_size: int
    ) -> None:
        self._stream = stream
        self._row_bytes = vocab_size * np.dtype(np.float32).itemsize
        self._used = 0
        self._rows: list[int] = []
        device_bytes = num_rows * (self._row_bytes + ALIGNMENT)
        self._device, self._host = twins(cuda, device_bytes, num_fetched * self._row_bytes)

    def clear(self) -> None:
        self._used = 0
        self._rows.clear()

    def room(self, num_rows: int) -> int:
        """Reserves the next rows and returns their address."""
        address = self._device.address + self._used
        self._used += aligned(num_rows * self._row_bytes)
        assert self._used <= self._device.num_bytes
        self._rows += [address + row * self._row_bytes for row in range(num_rows)]
        return address

    def fetch(self, rows: list[int]) -> NDArray[np.float32]:
        """Returns [n, vocab_size], valid until the next call. Waits for the GPU."""
        size = self._row_bytes
        for place, row in enumerate(rows):
            self._stream.copy_out(self._host.address + place * size, self._rows[row], size)
        self._stream.synchronize()
        logits = self._host.array[: len(rows) * size].view(np.float32)
        return logits.reshape(len(rows), -1)

    def close(self) -> None:
        self._device.close()
        self._host.close()
