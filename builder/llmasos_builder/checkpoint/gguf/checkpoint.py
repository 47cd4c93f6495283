"""A checkpoint in a GGUF file or its shards: weights dequantized, config and tokenizer rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

from llmasos_builder.checkpoint.checkpoint import Checkpoint
from llmasos_builder.checkpoint.gguf.config import read_config
from llmasos_builder.checkpoint.gguf.family_names import (
    BLOOM_NAMES,
    FALCON_NAMES,
    FALCON_TWO_NORMS_NAMES,
    GEMMA2_NAMES,
    GEMMA3_NAMES,
    GEMMA_NAMES,
    GPTNEOX_NAMES,
    PHI3_NAMES,
)
from llmasos_builder.checkpoint.gguf.file import GGUFFile
from llmasos_builder.checkpoint.gguf.header import TensorEntry
from llmasos_builder.checkpoint.gguf.names import (
    GPT2_NAMES,
    LLAMA_NAMES,
    QWEN2_NAMES,
    QWEN3_NAMES,
    Layout,
    NameTable,
    transposed,
)
from llmasos_builder.checkpoint.gguf.shards import open_gguf_file, without_shard
from llmasos_builder.checkpoint.gguf.tokenizer import make_tokenizer_files

READABLE = (
    GGMLQuantizationType.F32,
    GGMLQuantizationType.F16,
    GGMLQuantizationType.BF16,
    GGMLQuantizationType.Q8_0,
    GGMLQuantizationType.Q6_K,
    GGMLQuantizationType.Q5_K,
    GGMLQuantizationType.Q5_0,
    GGMLQuantizationType.Q5_1,
    GGMLQuantizationType.Q4_K,
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q4_1,
    GGMLQuantizationType.IQ4_NL,
    GGMLQuantizationType.IQ4_XS,
    GGMLQuantizationType.Q3_K,
    GGMLQuantizationType.Q2_K,
)
_NAMES = {
    "bloom": BLOOM_NAMES,
    "falcon": FALCON_NAMES,
    "gemma": GEMMA_NAMES,
    "gemma2": GEMMA2_NAMES,
    "gemma3_text": GEMMA3_NAMES,
    "gpt2": GPT2_NAMES,
    "gpt_neox": GPTNEOX_NAMES,
    "llama": LLAMA_NAMES,
    "phi3": PHI3_NAMES,
    "qwen2": QWEN2_NAMES,
    "qwen3": QWEN3_NAMES,
}


def open_gguf(path: Path, *, source: str) -> Checkpoint:
    """Opens a GGUF file, or all shards given any of them.

    Raises CheckpointError if it is damaged or of an unsupported form.
    """
    file = open_gguf_file(path)
    config = read_config(file)
    return Checkpoint(
        source=source,
        name=without_shard(path.name),
        config=config,
        weights=GGUFWeights(file, config=config, names=_names(config)),
        tokenizer_files=make_tokenizer_files(file),
        files={path.name: path for path in file.paths},
    )


def _names(config: Mapping[str, Any]) -> NameTable:
    if config["model_type"] == "falcon" and config.get("num_ln_in_parallel_attn") == 2:
        return FALCON_TWO_NORMS_NAMES
    return _NAMES[config["model_type"]]


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
            if entry.kind not in READABLE:
                raise CheckpointError(
                    f"{file.path}: tensor {entry.name} has the type {entry.kind.name}, which is "
                    f"not read; {', '.join(kind.name for kind in READABLE)} are"
                )
            self._entries[renamed.name] = (entry, renamed.layout)

    def names(self) -> frozenset[str]:
        return frozenset(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        entry, layout = self._entry(name)
        return entry.shape[::-1] if layout is transposed else entry.shape

    def load(self, name: str) -> NDArray[np.float32]:
        entry, layout = self._entry(name)
        return layout(self._file.read(entry), self._config)

    def _entry(self, name: str) -> tuple[TensorEntry, Layout]:
        if name not in self._entries:
            raise CheckpointError(f"{self._file.path} has no tensor {name}")
        return self._entries[name]
