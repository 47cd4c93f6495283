"""Converts a GGUF file's metadata to the Hugging Face config.json of the same network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos.errors import CheckpointError, UnsupportedArchitectureError

from llmasos_builder.checkpoint.gguf.families import (
    bloom_config,
    falcon_config,
    gemma2_config,
    gemma3_config,
    gemma_config,
    gpt2_config,
    gptneox_config,
    phi3_config,
)
from llmasos_builder.checkpoint.gguf.file import GGUFFile
from llmasos_builder.checkpoint.gguf.keys import check_no_key_is_unread
from llmasos_builder.checkpoint.gguf.llama import llama_config, qwen2_config, qwen3_config
from llmasos_builder.checkpoint.gguf.metadata import Metadata

CONFIGS: dict[str, Callable[[Metadata], dict[str, Any]]] = {
    "bloom": bloom_config,
    "falcon": falcon_config,
    "gemma": gemma_config,
    "gemma2": gemma2_config,
    "gemma3": gemma3_config,
    "gpt2": gpt2_config,
    "gptneox": gptneox_config,
    "llama": llama_config,
    "phi3": phi3_config,
    "qwen2": qwen2_config,
    "qwen3": qwen3_config,
}


def read_config(file: GGUFFile) -> dict[str, Any]:
    """Returns the config.json that the file stands for.

    Raises UnsupportedArchitectureError for an unsupported architecture or key.
    """
    metadata = Metadata(file)
    make = CONFIGS.get(metadata.architecture)
    if make is None:
        raise UnsupportedArchitectureError(
            f"{file.path} has the architecture {metadata.architecture!r}, GGUF files of "
            f"{', '.join(sorted(CONFIGS))} are read"
        )
    if metadata.integer("expert_count", 0):
        raise UnsupportedArchitectureError(
            f"{file.path} is a mixture of experts, which is not supported"
        )
    config = make(metadata)
    check_no_key_is_unread(metadata)
    config |= {
        "vocab_size": _shape(file, "token_embd.weight")[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "bos_token_id": metadata.token_id("bos"),
        "eos_token_id": metadata.token_id("eos"),
        "pad_token_id": metadata.token_id("padding"),
        "torch_dtype": "float32",
    }
    return config


def _shape(file: GGUFFile, name: str) -> tuple[int, ...]:
    if name not in file.tensors:
        raise CheckpointError(f"{file.path} has no tensor {name}")
    shape = file.tensors[name].shape
    if len(shape) != 2:
        raise CheckpointError(
            f"{file.path}: tensor {name} has the shape {list(shape)} instead of a matrix's"
        )
    return shape
