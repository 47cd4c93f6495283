"""Weights that torch has pickled: pytorch_model.bin, or shards that an index lists.

The files are zip archives (torch.serialization, since torch 1.6): `data.pkl` describes the tensors
(see `torch_description`), `data/KEY` has the numbers of a storage, which several tensors may
share. Tensors are read one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from llmasos.errors import CheckpointError
from llmasos.files.regular_file import is_there
from numpy.typing import NDArray

from llmasos_builder.checkpoint.pickled.stored_tensor import Storage, StoredTensor
from llmasos_builder.checkpoint.pickled.torch_archive import TorchArchive
from llmasos_builder.checkpoint.pickled.torch_description import ForeignError, described
from llmasos_builder.checkpoint.shard_index import check_apart, indexed_files

SINGLE_FILE = "pytorch_model.bin"
INDEX_FILE = "pytorch_model.bin.index.json"
CONVERT = (
    "convert them where you trust them: transformers' AutoModelForCausalLM.from_pretrained(DIR)"
    ".save_pretrained(NEW_DIR) writes model.safetensors"
)
_MAX_DESCRIPTION = 16 << 20
_REPEATS, _FEW = 4, 1 << 24
_TYPES: Mapping[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}


class PickledWeights:
    """Tensors of one or several of torch's files."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """files: every file to read, by name. Raises CheckpointError if one is damaged, or holds
        anything
        but tensors.
        """
        self._tensors: dict[str, StoredTensor] = {}
        self._homes: dict[str, TorchArchive] = {}
        for path in files.values():
            archive = TorchArchive(path)
            tensors = _described(archive, path)
            check_apart(self._tensors, tensors, path)
            self._tensors |= tensors
            self._homes |= dict.fromkeys(tensors, archive)

    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensor(name).shape

    def stored_type(self, name: str) -> str:
        """Returns the type by its name in safetensors."""
        return self._tensor(name).storage.kind

    def load(self, name: str) -> NDArray[np.float32]:
        return np.array(self.load_stored(name), np.float32)

    def load_stored(self, name: str) -> NDArray[Any]:
        """Reads a tensor in the type in which it is stored. Raises CheckpointError."""
        tensor, archive = self._tensor(name), self._homes.get(name)
        assert archive is not None
        kind = tensor.storage.kind
        if kind not in _TYPES:
            raise CheckpointError(
                f"{archive.path}: tensor {name} has the type {kind}, which is not read",
                hint=f"use a checkpoint in one of {', '.join(sorted(_TYPES))}",
            )
        numbers = _numbers(archive, tensor.storage)
        steps = tuple(step * numbers.itemsize for step in tensor.strides)
        view: NDArray[Any] = np.lib.stride_tricks.as_strided(
            numbers[tensor.offset :], tensor.shape, steps
        )
        return view

    def _tensor(self, name: str) -> StoredTensor:
        if name not in self._tensors:
            raise CheckpointError(f"the checkpoint has no tensor {name}")
        return self._tensors[name]


def find_pickled_files(directory: Path) -> dict[str, Path]:
    """Returns the pickled files of a checkpoint directory, by name; empty if it has none.

    Raises CheckpointError for an index that is wrong or names a file that is missing.
    """
    single, index = directory / SINGLE_FILE, directory / INDEX_FILE
    if is_there(single):
        return {SINGLE_FILE: single}
    return indexed_files(index) if is_there(index) else {}


def _described(archive: TorchArchive, path: Path) -> dict[str, StoredTensor]:
    """Returns the tensors that a file describes, by name."""
    content = archive.description(at_most=_MAX_DESCRIPTION)
    if not archive.is_little_endian():
        raise CheckpointError(f"{path} has big-endian numbers, which are not supported")
    try:
        tensors = described(content)
    except ForeignError as error:
        raise CheckpointError(
            f"{path} holds objects that are not tensors: {error}", hint=CONVERT
        ) from error
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} is damaged: {reason}") from error
    # Tensors may share numbers, or repeat them by steps of 0.
    count = sum(math.prod(tensor.shape) for tensor in tensors.values())
    most = _REPEATS * archive.size + _FEW
    if count > most:
        raise CheckpointError(
            f"{path} has tensors of {count} numbers, at most {most} are read of a file of "
            f"{archive.size} bytes"
        )
    return tensors


def _numbers(archive: TorchArchive, storage: Storage) -> NDArray[Any]:
    size = storage.count * np.dtype(_TYPES[storage.kind]).itemsize
    content = archive.read(f"data/{storage.key}", at_most=size)
    if len(content) != size:
        raise CheckpointError(
            f"{archive.path} is damaged: data/{storage.key} has {len(content)} bytes, "
            f"{size} expected"
        )
    return np.frombuffer(content, _TYPES[storage.kind])
