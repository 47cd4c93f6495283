"""Reads the header of a GGUF file: metadata, and a list of tensors.

Every length is checked against the file's end first, and the header's content is bounded, so that
a truncated or damaged file gives one line and never a long loop over a wrong count.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from llmasos.errors import CheckpointError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
_MAX_ALIGNMENT_BITS = 20
# Many times what well-known models have; the items are those of all arrays, such as tokens.
_MAX_HEADER_BYTES = 256 << 20
_MAX_TENSORS, _MAX_VALUES, _MAX_ITEMS = 1 << 18, 1 << 16, 1 << 23
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
    """One tensor: its shape in numpy's order, its type, and its position in a file."""

    name: str
    path: Path
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    size: int


class HeaderReader:
    """Reads forward through the header; nothing is read past the end."""

    def __init__(self, stream: BinaryIO, path: Path, *, size: int) -> None:
        """size: size of the file in bytes."""
        self._stream = stream
        self._size = size
        self._path = path
        self._at = 0
        self._num_items = 0

    def header(self) -> tuple[int, int]:
        """Number of tensors and of metadata values."""
        if self._take(4) != _MAGIC:
            raise CheckpointError(f"{self._path} is not a GGUF file")
        version = self._number("<I")
        if version not in _VERSIONS:
            raise CheckpointError(
                f"{self._path} has GGUF version {version}, versions 2 and 3 are read"
            )
        return self._count(24, most=_MAX_TENSORS), self._count(12, most=_MAX_VALUES)

    def name(self) -> str:
        """Returns the name of a value or tensor: short and printable, so messages can quote it."""
        length = self._number("<Q")
        name = self._take(length).decode("utf-8", errors="replace") if length < 256 else ""
        if not name.isprintable() or not name:
            raise self._damaged(f"a name of {length} bytes that is malformed")
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
        if (shape or (1,))[-1] % block:
            raise self._damaged(f"tensor {name} of {kind.name} and the shape {list(shape)}")
        size = prod(shape) // block * block_bytes
        return TensorEntry(
            name=name, path=self._path, shape=shape, kind=kind, offset=offset, size=size
        )

    def data_start(self, alignment: Any) -> int:
        powers = {1 << power for power in range(_MAX_ALIGNMENT_BITS + 1)}
        if type(alignment) is not int or alignment not in powers:
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
        if kind == GGUFValueType.ARRAY:
            raise self._damaged("an array of arrays")
        is_text = kind == GGUFValueType.STRING
        count = self._count(8 if is_text else 1, most=_MAX_ITEMS - self._num_items)
        self._num_items += count
        if is_text:
            return [self.string() for _ in range(count)]
        return self._numbers(_SCALARS[kind], count)

    def _numbers(self, code: str, count: int) -> list[Any]:
        dtype = np.dtype(code)
        values: list[Any] = np.frombuffer(self._take(count * dtype.itemsize), dtype).tolist()
        return values

    def _count(self, least_bytes: int, *, most: int) -> int:
        """Returns a count of items of at least this many bytes each, checked against the file's
        size.
        """
        count = self._number("<Q")
        self._check_room(count * least_bytes)
        if count > most:
            raise self._damaged(f"a count of {count}, where at most {most} are read,")
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
        if self._at + size > _MAX_HEADER_BYTES:
            raise CheckpointError(
                f"the header of {self._path} has {self._at + size} bytes or more, at most "
                f"{_MAX_HEADER_BYTES} are read"
            )

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self._path} is damaged: {what} before byte {self._at}")
