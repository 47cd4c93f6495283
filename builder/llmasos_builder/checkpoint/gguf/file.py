"""The GGUF container: metadata, and the position of each tensor's bytes.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little
endian). Types, block sizes and dequantization come from the `gguf` library.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gguf.quants import dequantize
from llmasos.errors import CheckpointError
from llmasos.files.regular_file import open_regular
from numpy.typing import NDArray

from llmasos_builder.checkpoint.gguf.header import HeaderReader, TensorEntry

_DEFAULT_ALIGNMENT = 32
_CHUNK_BYTES = 1 << 20


class GGUFFile:
    """An opened file: `metadata` and `tensors` by name. Raises CheckpointError if damaged.

    paths: the file, and its other shards if `shards` added their tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.paths: tuple[Path, ...] = (path,)
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, TensorEntry] = {}
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            self._read_header(HeaderReader(stream, path, size=size), size=size)

    def read(self, entry: TensorEntry) -> NDArray[np.float32]:
        """Returns one tensor's values. Its bytes are read and dequantized a few rows at a time, so
        that memory holds little more than the values.
        """
        values = np.empty(entry.shape, np.float32)
        rows = values.reshape(-1, entry.shape[-1]) if entry.shape else values.reshape(1, 1)
        row_bytes = entry.size // len(rows)
        step = max(1, _CHUNK_BYTES // max(1, 4 * rows.shape[1]))
        with open_regular(entry.path) as stream:
            stream.seek(entry.offset)
            for first in range(0, len(rows), step):
                part = rows[first : first + step]
                data = np.fromfile(stream, np.uint8, len(part) * row_bytes)
                if data.size != len(part) * row_bytes:
                    raise CheckpointError(f"{entry.path} has changed while it was read")
                # As one row, which gguf takes at once; of many it would take 16 at a time.
                part[...] = dequantize(data.reshape(1, -1), entry.kind).reshape(part.shape)
        return values

    def _read_header(self, reader: HeaderReader, *, size: int) -> None:
        num_tensors, num_values = reader.header()
        for _ in range(num_values):
            name = reader.name()
            if name in self.metadata:
                raise CheckpointError(f"{self.path} is damaged: it has {name} twice")
            self.metadata[name] = reader.value()
        entries = [reader.tensor_entry() for _ in range(num_tensors)]
        start = reader.data_start(self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT))
        self._place(sorted(entries, key=lambda e: (e.offset, e.size)), start, size)

    def _place(self, entries: list[TensorEntry], start: int, size: int) -> None:
        """Places entries, sorted by offset relative to start. No two share a byte, so that a file
        has no more numbers than its bytes encode.
        """
        end = start
        for entry in entries:
            placed = replace(entry, offset=start + entry.offset)
            if placed.offset < end or entry.name in self.tensors:
                raise CheckpointError(
                    f"{self.path} is damaged: tensor {entry.name} overlaps another, or is there "
                    "twice"
                )
            end = placed.offset + placed.size
            if end > size:
                raise CheckpointError(
                    f"{self.path} is truncated: tensor {entry.name} ends at byte {end}, "
                    f"the file has {size}"
                )
            self.tensors[entry.name] = placed
