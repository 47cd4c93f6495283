"""Weights in safetensors files: one, or shards that an index lists.

A file is checked as a whole when it is opened (its header, and that all its tensors'
bytes are there); its tensors are then read one at a time from the mapped file.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from llmasos.errors import CheckpointError
from llmasos.json_file import parse_json_object
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from llmasos_builder.checkpoint.shard_index import indexed_files

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
FP8 = "F8_E4M3"
_READABLE = frozenset({"F64", "F32", "F16", "BF16"})
_MAX_HEADER_BYTES = 100 << 20


class SafetensorsWeights:
    """Tensors of one or several safetensors files."""

    def __init__(self, files: Mapping[str, Path], *, also: Sequence[str] = ()) -> None:
        """files: every file to read, by name; also: types to read besides those of all
        checkpoints. Raises CheckpointError if a file is damaged.
        """
        self._readable = _READABLE.union(also)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._types: dict[str, str] = {}
        self._homes: dict[str, Path] = {}
        self._starts: dict[str, int] = {}
        for path in files.values():
            for name, entry in _read_header(path).items():
                self._shapes[name] = tuple(entry["shape"])
                self._types[name] = entry["dtype"]
                self._homes[name] = path
                self._starts[name] = entry["start"]

    def names(self) -> frozenset[str]:
        return frozenset(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        self._home(name)
        return self._shapes[name]

    def stored_type(self, name: str) -> str:
        """As the file calls it."""
        self._home(name)
        return self._types[name]

    def load(self, name: str) -> NDArray[np.float32]:
        path = self._home(name)
        if self._types[name] not in self._readable:
            raise CheckpointError(
                f"{path}: tensor {name} has the type {self._types[name]}, which is not read",
                hint=f"use a checkpoint in one of {', '.join(sorted(_READABLE))}",
            )
        if self._types[name] == FP8:  # which the library hands to torch alone
            count = math.prod(self._shapes[name])
            raw = np.fromfile(path, np.uint8, count, offset=self._starts[name])
            values = raw.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
            return np.asarray(values.reshape(self._shapes[name]), np.float32)
        with _opened(path) as file:
            return np.asarray(file.get_tensor(name), dtype=np.float32)

    def _home(self, name: str) -> Path:
        if name not in self._homes:
            raise CheckpointError(f"the checkpoint has no tensor {name}")
        return self._homes[name]


def find_weight_files(directory: Path) -> dict[str, Path]:
    """The safetensors files of a checkpoint directory, by name; none if it has none.

    Raises CheckpointError for an index that is wrong or names a file that is missing.
    """
    index = directory / INDEX_FILE
    if (directory / SINGLE_FILE).is_file() or not index.exists():
        found = sorted(directory.glob("*.safetensors"))
        single = [path for path in found if path.name == SINGLE_FILE]
        return {path.name: path for path in single or found[:1] if len(single or found) == 1}
    return indexed_files(index)


def _read_header(path: Path) -> dict[str, Any]:
    """Name, type, shape and start of every tensor, after checking that the file is whole."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise CheckpointError(
                f"{path} is truncated or no safetensors file: its header has {length} bytes, "
                f"the file {size}"
            )
        header = _parse_header(stream.read(length), path)
    expected = 8 + length + max((e["data_offsets"][1] for e in header.values()), default=0)
    if size != expected:
        raise CheckpointError(f"{path} has {size} bytes, its header promises {expected}")
    for entry in header.values():
        entry["start"] = 8 + length + entry["data_offsets"][0]
    with _opened(path):  # safetensors' own checks: overlaps, gaps, sizes
        return header


def _parse_header(text: bytes, path: Path) -> dict[str, Any]:
    header = parse_json_object(text, name=f"the header of {path}")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        try:
            begin, end = entry["data_offsets"]
            sizes = [begin, end, *entry["shape"]]
            sound = isinstance(entry["dtype"], str) and all(
                type(n) is int and n >= 0 for n in sizes
            )
        except (TypeError, KeyError, ValueError):
            sound = False
        if not sound:
            raise CheckpointError(f"the header of {path} is damaged at tensor {name}")
    return header


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    """The file mapped for as long as it is needed: a closed map takes no memory."""
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a sound safetensors file: {error}") from error
