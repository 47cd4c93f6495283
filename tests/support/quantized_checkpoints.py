"""Checkpoints with one quantized matrix, `model.a`, made of tensors that a test gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.huggingface.quantized.weights import QuantizedWeights
from made_tokenizers import byte_level, write_tokenizer
from safetensors.numpy import save_file

COMPRESSED = {"quant_method": "compressed-tensors", "format": "pack-quantized"}


def write(
    directory: Path, config: Any, *, beside: dict[str, Any] | None = None, **parts: Any
) -> Path:
    """A matrix `model.a` of these tensors, and `model.b` that is not quantized."""
    write_tokenizer(directory, byte_level())
    fields = {"model_type": "llama"} | ({"quantization_config": config} if config else {})
    (directory / "config.json").write_text(json.dumps(fields))
    for name, content in (beside or {}).items():
        (directory / name).write_text(json.dumps(content))
    named = {f"model.a.{name}": np.ascontiguousarray(values) for name, values in parts.items()}
    save_file(
        {**named, "model.b.weight": np.ones((2, 2), np.float16)}, directory / "model.safetensors"
    )
    return directory


def weights_of(directory: Path, config: Any, **parts: Any) -> QuantizedWeights:
    checkpoint = open_checkpoint(write(directory, config, **parts))
    assert checkpoint.weights.names() == {"model.a.weight", "model.b.weight"}
    assert checkpoint.weights.load("model.b.weight").tolist() == [[1, 1], [1, 1]]
    assert isinstance(checkpoint.weights, QuantizedWeights)
    return checkpoint.weights
