"""The GGUF container: metadata, and where each tensor's bytes lie.

Every length is checked against the file's end first, and how much a header may hold is bounded,
so that a cut or damaged file ends in one line and never in a loop over a count that was not a
count.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little
endian). Types, block sizes and dequantization come from the `gguf` library.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from gguf.quants import dequantize
from llmasos.errors import CheckpointError
from llmasos.regular_file import open_regular
from numpy.typing import NDArray

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MAX_DIMENSIONS = 4
_CHUNK_BYTES = 1 << 20
_SCALARS = {
    GGUFValueType.UINT8: "<u1",
    GGUFValueType.INT8: "<i1",
    GGUFValueType.UINT16: "<u2",
    GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4",
    GGUFValueType.INT32: "<i4",
    GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "<u8",
    GGUFValueType.INT64: "<i8",
    GGUFValueType.FLOAT64: "<f8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """One tensor: its shape in numpy's order, its type, and its place in a file."""

    name: str
    path: Path
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    size: int


class GGUFFile:
    """An opened file: `metadata` and `tensors` by name. Raises CheckpointError if damaged.

    paths: of the file, and of its other shards where `gguf_shards` added their tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.paths: tuple[Path, ...] = (path,)
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, TensorEntry] = {}
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            self._read_header(_Reader(stream, path, size=size), size=size)

    def read(self, entry: TensorEntry) -> NDArray[np.float32]:
        """One tensor's values. Its bytes are read and dequantized some rows at a time, so that
        memory holds little more than the values.
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

    def _read_header(self, reader: _Reader, *, size: int) -> None:
        num_tensors, num_values = reader.header()
        for _ in range(num_values):
            name = reader.name()
            self.metadata[name] = reader.value()
        entries = [reader.tensor_entry() for _ in range(num_tensors)]
        start = reader.data_start(self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT))
        for entry in entries:
            placed = replace(entry, offset=start + entry.offset)
            end = placed.offset + placed.size
            if end > size:
                raise CheckpointError(
                    f"{self.path} is truncated: tensor {entry.name} ends at byte {end}, "
                    f"the file has {size}"
                )
            self.tensors[entry.name] = placed


class _Reader:
    """Reads forward through the header; nothing is read past the end."""

    def __init__(self, stream: BinaryIO, path: Path, *, size: int) -> None:
        """size: of the file, in bytes."""
        self._stream = stream
        self._size = size
        self._path = path
        self._at = 0

    def header(self) -> tuple[int, int]:
        """Number of tensors and of metadata values."""
        if self._take(4) != _MAGIC:
            raise CheckpointError(f"{self._path} is not a GGUF file")
        version = self._number("<I")
        if version not in _VERSIONS:
            raise CheckpointError(
                f"{self._path} has GGUF version {version}, versions 2 and 3 are read"
            )
        return self._count(24), self._count(12)

    def name(self) -> str:
        """The name of a value or tensor: short and printable, so it can stand in a message."""
        length = self._number("<Q")
        name = self._take(length).decode("utf-8", errors="replace") if length < 256 else ""
        if not name.isprintable() or not name:
            raise self._damaged(f"a name of {length} bytes that is none")
        return name

    def string(self) -> str:
        content = self._take(self._number("<Q"))
        return content.decode("utf-8", errors="replace")

    def value(self) -> Any:
        return self._value_of(self._value_type())

    def tensor_entry(self) -> TensorEntry:
        """A tensor's entry; its offset is still relative to the tensors' first byte."""
        name = self.name()
        num_dimensions = self._number("<I")
        if num_dimensions > _MAX_DIMENSIONS:
            raise self._damaged(f"tensor {name} with {num_dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(num_dimensions))[::-1]
        if 0 in shape:
            raise self._damaged(f"tensor {name} of the shape {list(shape)}")
        number, offset = self._number("<I"), self._number("<Q")
        try:
            kind = GGMLQuantizationType(number)
        except ValueError:
            raise self._damaged(f"tensor {name} of the unknown type {number}") from None
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if shape and shape[-1] % block:
            raise self._damaged(f"tensor {name} of {kind.name} with rows of {shape[-1]}")
        size = prod(shape) // block * block_bytes
        return TensorEntry(
            name=name, path=self._path, shape=shape, kind=kind, offset=offset, size=size
        )

    def data_start(self, alignment: Any) -> int:
        if not isinstance(alignment, int) or alignment < 1:
            raise self._damaged(f"an alignment of {alignment}")
        return -(-self._at // alignment) * alignment

    def _value_type(self) -> GGUFValueType:
        number = self._number("<I")
        try:
            return GGUFValueType(number)
        except ValueError:
            raise self._damaged(f"a value of the unknown type {number}") from None

    def _value_of(self, kind: GGUFValueType) -> Any:
        if kind == GGUFValueType.STRING:
            return self.string()
        if kind != GGUFValueType.ARRAY:
            return self._numbers(_SCALARS[kind], 1)[0]
        kind = self._value_type()
        if kind == GGUFValueType.STRING:
            return [self.string() for _ in range(self._count(8))]
        if kind == GGUFValueType.ARRAY:
            raise self._damaged("an array of arrays")
        return self._numbers(_SCALARS[kind], self._number("<Q"))

    def _numbers(self, code: str, count: int) -> list[Any]:
        dtype = np.dtype(code)
        values: list[Any] = np.frombuffer(self._take(count * dtype.itemsize), dtype).tolist()
        return values

    def _count(self, least_bytes: int) -> int:
        """How many of something that takes at least so many bytes each are said to follow."""
        count = self._number("<Q")
        self._check_room(count * least_bytes)
        return count

    def _number(self, code: str) -> int:
        (number,) = struct.unpack(code, self._take(struct.calcsize(code)))
        return int(number)

    def _take(self, size: int) -> bytes:
        self._check_room(size)
        content = self._stream.read(size)
        if len(content) != size:
            raise CheckpointError(f"{self._path} has changed while it was read")
        self._at += size
        return content

    def _check_room(self, size: int) -> None:
        if self._at + size > self._size:
            raise CheckpointError(
                f"{self._path} is truncated or damaged: {size} bytes expected at byte {self._at}, "
                f"the file has {self._size}"
            )

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self._path} is damaged: {what} before byte {self._at}")
