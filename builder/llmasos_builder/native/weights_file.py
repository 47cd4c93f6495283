"""Writes the weights' file part by part, as the values of a network come."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.engine.native_engine import ALIGNMENT, FileField, LayerField, padded
from llmasos.engine.plan import Precision
from numpy.typing import NDArray

from llmasos_builder.graph import Array
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.records import RecordedWeight
from llmasos_builder.native.lowered import LoweredNetwork
from llmasos_builder.native.parts import Part, Place

_NUMBER = 8


class WeightsFile:
    """A file whose size is known before a weight is read; parts are written where they belong."""

    def __init__(self, path: Path, network: LoweredNetwork, parts: Iterable[Part]) -> None:
        num_numbers = len(FileField) + len(LayerField) * len(network.layers)
        self._header = np.zeros(num_numbers, np.int64)
        self._by_name: dict[str, list[_Waiting]] = {}
        end = padded(_NUMBER * num_numbers, ALIGNMENT)
        ready: list[_Waiting] = []
        for part in parts:
            offsets: list[int] = []
            for places, size in zip(part.places, part.sizes, strict=True):
                offsets.append(end)
                for place in places:
                    self._header[_index(place)] = end
                end = padded(end + size, ALIGNMENT)
            waiting = _Waiting(part, offsets)
            for name in part.names:
                self._by_name.setdefault(name, []).append(waiting)
            if not part.names:
                ready.append(waiting)
        for index, layer in enumerate(network.layers):
            scale = np.float32(layer.scores.scale).view(np.int32)
            self._header[_index((LayerField.SCORE_SCALE, index))] = scale
            self._header[_index((LayerField.WINDOW, index))] = layer.scores.window or 0
        with path.open("wb") as file:  # a disk without room fails here, and not at a later write
            os.posix_fallocate(file.fileno(), 0, end)
        self._bytes = np.memmap(path, np.uint8, "r+", shape=(end,))
        self._put(0, self._header)
        for waiting in ready:
            self._write(waiting)

    def take(self, name: str, values: Array) -> None:
        """The values of a weight; what is made of it is written when all of it is there."""
        for waiting in self._by_name.pop(name):
            waiting.values[name] = values
            if len(waiting.values) == len(waiting.part.names):
                self._write(waiting)

    def close(self) -> None:
        """Everything must have been taken."""
        assert not self._by_name, f"no values came for {next(iter(self._by_name))}"
        self._bytes.flush()

    def _write(self, waiting: _Waiting) -> None:
        part = waiting.part
        made = part.make([waiting.values[name] for name in part.names])
        waiting.values.clear()
        for offset, size, array in zip(waiting.offsets, part.sizes, made, strict=True):
            assert array.nbytes == size, (part.places, array.shape, size)
            self._put(offset, array)

    def _put(self, offset: int, array: NDArray[Any]) -> None:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._bytes[offset : offset + content.size] = content


class WritingGraph(RecordingGraph):
    """Gives the values of each weight to the file, and forgets them."""

    def __init__(self, file: WeightsFile) -> None:
        super().__init__()
        self._file = file

    def weight(self, name: str, values: Array, precision: Precision) -> RecordedWeight:
        """See `Graph`."""
        recorded = super().weight(name, values, precision)
        self._file.take(name, values)
        return recorded


class _Waiting:
    """A part, where its arrays go, and the values that have come for it."""

    def __init__(self, part: Part, offsets: list[int]) -> None:
        self.part = part
        self.offsets = offsets
        self.values: dict[str, Array] = {}


def _index(place: Place) -> int:
    """Where in the header a field is."""
    field, layer = place
    if isinstance(field, FileField):
        return int(field)
    return len(FileField) + len(LayerField) * layer + field
