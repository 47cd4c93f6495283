"""A checkpoint in one GGUF file: weights dequantized, config and tokenizer rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

from llmasos_builder.checkpoint.checkpoint import Checkpoint
from llmasos_builder.checkpoint.gguf_config import read_config
from llmasos_builder.checkpoint.gguf_file import GGUFFile, TensorEntry
from llmasos_builder.checkpoint.gguf_names import (
    GPT2_NAMES,
    LLAMA_NAMES,
    QWEN2_NAMES,
    QWEN3_NAMES,
    Layout,
    NameTable,
    transposed,
)
from llmasos_builder.checkpoint.gguf_tokenizer import make_tokenizer_files

_READABLE = (
    GGMLQuantizationType.F32,
    GGMLQuantizationType.F16,
    GGMLQuantizationType.BF16,
    GGMLQuantizationType.Q8_0,
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q4_1,
)
_NAMES = {
    "gpt2": GPT2_NAMES,
    "llama": LLAMA_NAMES,
    "qwen2": QWEN2_NAMES,
    "qwen3": QWEN3_NAMES,
}


def open_gguf(path: Path, *, source: str) -> Checkpoint:
    """Open a GGUF file; raises CheckpointError if it is damaged or of a form that is not read."""
    file = GGUFFile(path)
    config = read_config(file)
    return Checkpoint(
        source=source,
        name=path.stem,
        config=config,
        weights=GGUFWeights(file, config=config, names=_NAMES[config["model_type"]]),
        tokenizer_files=make_tokenizer_files(file),
        files={path.name: path},
    )


class GGUFWeights:
    """The tensors of a GGUF file under Hugging Face's names."""

    def __init__(self, file: GGUFFile, *, config: Mapping[str, Any], names: NameTable) -> None:
        self._file = file
        self._config = config
        self._entries: dict[str, tuple[TensorEntry, Layout]] = {}
        for entry in file.tensors.values():
            if entry.name in names.ignored:
                continue
            renamed = names.rename(entry.name)
            if renamed is None:
                raise CheckpointError(
                    f"{file.path} has the tensor {entry.name}, which {config['model_type']} "
                    "does not have"
                )
            if entry.kind not in _READABLE:
                raise CheckpointError(
                    f"{file.path}: tensor {entry.name} has the type {entry.kind.name}, which is "
                    f"not read; {', '.join(kind.name for kind in _READABLE)} are"
                )
            self._entries[renamed.name] = (entry, renamed.layout)

    def names(self) -> frozenset[str]:
        return frozenset(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        entry, layout = self._entry(name)
        return entry.shape[::-1] if layout is transposed else entry.shape

    def load(self, name: str) -> NDArray[np.float32]:
        entry, layout = self._entry(name)
        weight = dequantize(self._file.read(entry), entry.kind).reshape(entry.shape)
        return layout(np.ascontiguousarray(weight, dtype=np.float32), self._config)

    def _entry(self, name: str) -> tuple[TensorEntry, Layout]:
        if name not in self._entries:
            raise CheckpointError(f"{self._file.path} has no tensor {name}")
        return self._entries[name]
