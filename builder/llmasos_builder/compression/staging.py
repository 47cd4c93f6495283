"""Quantized matrices that wait beside the output until all are there, so that a run can resume."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmasos.errors import PlanError
from llmasos.files.disk import not_written
from llmasos.files.json_file import read_json_object
from numpy.typing import NDArray

from llmasos_builder.checkpoint.huggingface.quantized.compressed_tensors import (
    PackedIntegers,
    PlainNumbers,
)
from llmasos_builder.checkpoint.huggingface.quantized.weights import QuantizedWeights
from llmasos_builder.checkpoint.huggingface.safetensors_file import DTYPES, Entry, write_safetensors
from llmasos_builder.checkpoint.huggingface.safetensors_weights import SafetensorsWeights
from llmasos_builder.graph import Array

_JOB = "job.json"
_KINDS = {dtype: kind for kind, dtype in DTYPES.items()}


class Staging:
    """A directory with one file for each matrix that is done.

    job: what the matrices depend on. A directory of another job is emptied.
    """

    def __init__(self, output: Path, job: Mapping[str, Any]) -> None:
        """Raises PlanError where the directory cannot be written."""
        self.directory = output.absolute().parent / f".{output.name}.quantizing"
        content = json.dumps(job, sort_keys=True)
        try:
            path = self.directory / _JOB
            if not path.is_file() or json.dumps(read_json_object(path), sort_keys=True) != content:
                shutil.rmtree(self.directory, ignore_errors=True)
                self.directory.mkdir(parents=True)
                path.write_text(content)
        except OSError as error:
            raise not_written(self.directory, error, error=PlanError) from error

    def has(self, name: str) -> bool:
        """Whether a matrix is done."""
        return self._file(name).is_file()

    def keep(self, name: str, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Writes the tensors of a matrix: all or nothing. Raises PlanError, as for a full disk."""
        entries: dict[str, Entry] = {n: (_KINDS[t.dtype], t.shape) for n, t in tensors.items()}
        file = self._file(name)
        part = file.with_suffix(".part")
        try:
            write_safetensors(part, entries, lambda n: tensors[n])
            part.replace(file)
        except OSError as error:
            raise not_written(self.directory, error, error=PlanError) from error

    def tensors(self, name: str) -> SafetensorsWeights:
        """Opens the tensors of a matrix that is done."""
        return SafetensorsWeights({name: self._file(name)})

    def values(self, name: str) -> Array:
        """Returns the values of a matrix that is done, rows as they are stored."""
        return QuantizedWeights(self.tensors(name), (PackedIntegers(), PlainNumbers())).load(name)

    def remove(self) -> None:
        """Removes it all."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self.directory / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.safetensors"
