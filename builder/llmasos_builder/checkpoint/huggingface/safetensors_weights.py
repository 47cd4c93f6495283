"""Weights in safetensors files: one, or shards that an index lists.

A file is checked as a whole when it is opened (its header, and that all its tensors' bytes are
there); its tensors are then read one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from llmasos.errors import CheckpointError
from llmasos.files.regular_file import is_there, open_regular
from numpy.typing import NDArray

from llmasos_builder.checkpoint.huggingface.safetensors_header import TensorPlace, read_header
from llmasos_builder.checkpoint.shard_index import check_apart, indexed_files

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
FP8 = "F8_E4M3"
_READABLE = ("F64", "F32", "F16", "BF16")
_TYPES: Mapping[str, Any] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": ml_dtypes.bfloat16,
    FP8: ml_dtypes.float8_e4m3fn,
    "I64": "<i8",
    "I32": "<i4",
    "I8": np.int8,
    "U8": np.uint8,
}


class SafetensorsWeights:
    """Tensors of one or several safetensors files."""

    def __init__(self, files: Mapping[str, Path], *, also: Sequence[str] = ()) -> None:
        """files: every file to read, by name; also: types to read besides the usual ones.

        Raises CheckpointError if a file is damaged, or two have the same tensor.
        """
        self._readable = {*_READABLE, *also}
        self._places: dict[str, TensorPlace] = {}
        for path in files.values():
            found = read_header(path)
            check_apart(self._places, found, path)
            self._places |= found

    def names(self) -> frozenset[str]:
        return frozenset(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._place(name).shape

    def stored_type(self, name: str) -> str:
        """Returns the type by its name in the file."""
        return self._place(name).kind

    def load(self, name: str) -> NDArray[np.float32]:
        place = self._place(name)
        if place.kind not in self._readable:
            raise CheckpointError(
                f"{place.path}: tensor {name} has the type {place.kind}, which is not read",
                hint=f"use a checkpoint in one of {', '.join(sorted(_READABLE))}",
            )
        return np.asarray(self.load_stored(name), np.float32)

    def load_stored(self, name: str) -> NDArray[Any]:
        """Reads a tensor in the type in which it is stored. Raises CheckpointError."""
        place = self._place(name)
        if place.kind not in _TYPES:
            raise CheckpointError(
                f"{place.path}: tensor {name} has the type {place.kind}, which is not read"
            )
        count = math.prod(place.shape)
        # Read, not mapped: a mapped file that is cut meanwhile would end the process.
        with open_regular(place.path) as stream:
            stored = np.fromfile(stream, _TYPES[place.kind], count, offset=place.start)
            if stored.size != count:
                raise CheckpointError(f"{place.path} has changed while it was read")
            return stored.reshape(place.shape)

    def _place(self, name: str) -> TensorPlace:
        if name not in self._places:
            raise CheckpointError(f"the checkpoint has no tensor {name}")
        return self._places[name]


def find_weight_files(directory: Path) -> dict[str, Path]:
    """Returns the safetensors files of a checkpoint directory, by name; empty if it has none.

    Raises CheckpointError for an index that is wrong or names a file that is missing.
    """
    index = directory / INDEX_FILE
    if is_there(directory / SINGLE_FILE) or not is_there(index):
        found = sorted(directory.glob("*.safetensors"))
        single = [path for path in found if path.name == SINGLE_FILE]
        return {path.name: path for path in single or found[:1] if len(single or found) == 1}
    return indexed_files(index)
