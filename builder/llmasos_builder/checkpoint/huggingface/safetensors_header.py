"""Reads the header of a safetensors file: its tensors and the positions of their bytes.

Format: https://github.com/huggingface/safetensors#format. The tensors must fill the file after the
header, without gaps or overlaps, so that a file holds no more numbers than bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmasos.errors import CheckpointError
from llmasos.files.json_file import parse_json_object
from llmasos.files.regular_file import open_regular

MAX_HEADER_BYTES = 100 << 20
MAX_DIMENSIONS = 16
_LENGTH_BYTES = 8
_BITS: Mapping[str, int] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlace:
    """One tensor: its type by its name in the file, and the begin and end of its bytes."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> dict[str, TensorPlace]:
    """Returns every tensor by name; raises CheckpointError if the file is truncated or damaged."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        text = _header_text(stream, path, size)
    header = parse_json_object(text, name=f"the header of {path}")
    header.pop("__metadata__", None)
    first = _LENGTH_BYTES + len(text)
    places = {name: _place(entry, name, path, first) for name, entry in header.items()}
    _check_order(places, path, first=first, size=size)
    return places


def _header_text(stream: BinaryIO, path: Path, size: int) -> bytes:
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
        raise CheckpointError(
            f"{path} is truncated or not a safetensors file: its header has {length} bytes, "
            f"the file {size}"
        )
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"the header of {path} has {length} bytes, at most {MAX_HEADER_BYTES} are read"
        )
    text = stream.read(length)
    if len(text) != length:
        raise CheckpointError(f"{path} has changed while it was read")
    return text


def _place(entry: Any, name: str, path: Path, first: int) -> TensorPlace:
    try:
        begin, end = entry["data_offsets"]
        kind, shape = entry["dtype"], tuple(entry["shape"])
    except (TypeError, KeyError, ValueError):
        raise _damaged(path, name, "a malformed entry") from None
    if not isinstance(kind, str) or kind not in _BITS:
        raise _damaged(path, name, f"the unknown type {kind!r}")
    if len(shape) > MAX_DIMENSIONS:
        raise _damaged(path, name, f"{len(shape)} dimensions, at most {MAX_DIMENSIONS} are read")
    if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
        raise _damaged(path, name, "sizes that are not integers")
    if (end - begin) * 8 != math.prod(shape) * _BITS[kind]:
        wanted = f"the shape {list(shape)} in {kind}"
        raise _damaged(path, name, f"{end - begin} bytes, which do not make {wanted}")
    return TensorPlace(path=path, kind=kind, shape=shape, start=first + begin, end=first + end)


def _check_order(places: Mapping[str, TensorPlace], path: Path, *, first: int, size: int) -> None:
    at = first
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].end)):
        if place.start != at:
            raise _damaged(path, name, f"byte {place.start} as its first, {at} expected")
        at = place.end
    if size != at:
        raise CheckpointError(f"{path} has {size} bytes, its header promises {at}")


def _damaged(path: Path, name: str, what: str) -> CheckpointError:
    return CheckpointError(f"the header of {path} is damaged: tensor {name} has {what}")
