"""Requests and responses as bytes: a header of JSON, then the elements of each tensor.

    +-------------+--------------+--------+-----------------------------+
    | header: u32 | payload: u64 | header | elements of tensor 1, 2, ... |
    +-------------+--------------+--------+-----------------------------+

The two numbers are sizes in bytes, little-endian. The header lists name, dtype, shape and size of
each tensor; elements are in C order, and a string is its size (u32) and its bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SIZES = struct.Struct("<IQ")
_STRING = struct.Struct("<I")
_TENSORS = "tensors"
Arrays = dict[str, NDArray[Any]]


class Frame(NamedTuple):
    """header: what is said besides the tensors."""

    header: dict[str, Any]
    arrays: Arrays


def encoded(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Returns the bytes of a frame."""
    parts = {name: _bytes_of(array) for name, array in arrays.items()}
    tensors = [
        [name, "O" if array.dtype == np.object_ else array.dtype.str, array.shape, len(parts[name])]
        for name, array in arrays.items()
    ]
    head = json.dumps({**header, _TENSORS: tensors}).encode()
    sizes = _SIZES.pack(len(head), sum(map(len, parts.values())))
    return b"".join((sizes, head, *parts.values()))


class FrameReader:
    """Puts frames together from pieces of bytes as they come."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields the frames that are whole with these bytes; arrays may be written to."""
        self._bytes += data
        while len(self._bytes) >= _SIZES.size:
            head_size, payload_size = _SIZES.unpack_from(self._bytes)
            end = _SIZES.size + head_size + payload_size
            if len(self._bytes) < end:
                return
            whole, self._bytes = self._bytes[:end], self._bytes[end:]
            yield _decoded(whole, _SIZES.size + head_size)


def _decoded(whole: bytearray, payload: int) -> Frame:
    header = json.loads(whole[_SIZES.size : payload])
    arrays: Arrays = {}
    place = payload
    for name, kind, shape, size in header.pop(_TENSORS):
        part = memoryview(whole)[place : place + size]
        if kind == "O":
            array: NDArray[Any] = np.empty(shape, np.object_)
            for index, item in enumerate(_strings(part)):
                array.flat[index] = item
        else:
            array = np.frombuffer(part, kind).reshape(shape)
        arrays[name] = array
        place += size
    return Frame(header, arrays)


def _bytes_of(array: NDArray[Any]) -> bytes:
    if array.dtype != np.object_:
        return np.ascontiguousarray(array).tobytes()
    items = (_as_bytes(item) for item in array.reshape(-1).tolist())
    return b"".join(part for item in items for part in (_STRING.pack(len(item)), item))


def _as_bytes(item: bytes | str) -> bytes:
    return item.encode() if isinstance(item, str) else item


def _strings(part: memoryview) -> Iterator[bytes]:
    place = 0
    while place < len(part):
        (size,) = _STRING.unpack_from(part, place)
        place += _STRING.size
        yield bytes(part[place : place + size])
        place += size
