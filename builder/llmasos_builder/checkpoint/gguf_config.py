"""A GGUF file's metadata as the Hugging Face config.json of the same network."""

from __future__ import annotations

import math
from collections.abc import Callable
from reprlib import repr as short
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError, UnsupportedArchitectureError
from numpy.typing import NDArray

from llmasos_builder.checkpoint.gguf_file import GGUFFile

_MISSING = object()
# Llama 3.1's published scaling; GGUF keeps only the factors that it gives.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_ORIGINAL_LENGTH = 8192


class Metadata:
    """The values of one architecture, with errors that name the file and the key."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.architecture = self._of("general.architecture", str, _MISSING)

    def integer(self, key: str, default: Any = _MISSING) -> Any:
        """`key` is without the architecture's name in front."""
        return self._of(f"{self.architecture}.{key}", int, default)

    def count(self, key: str, default: Any = _MISSING) -> Any:
        """An integer of at least 1."""
        value = self.integer(key, default)
        if value is not None and value < 1:
            raise CheckpointError(
                f"{self.file.path}: {self.architecture}.{key} must be at least 1, got {value}"
            )
        return value

    def number(self, key: str, default: Any = _MISSING) -> Any:
        """A float32 as the shortest decimal that means it: 1e-05, not 9.99999974e-06."""
        value = self._of(f"{self.architecture}.{key}", float, default)
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def text(self, key: str, default: Any = _MISSING) -> Any:
        return self._of(f"{self.architecture}.{key}", str, default)

    def token_id(self, name: str) -> int | None:
        """bos, eos, eot, unknown, padding: None where the file does not say."""
        value = self._of(f"tokenizer.ggml.{name}_token_id", int, None)
        return None if value is None else int(value)

    def _of(self, key: str, kind: type, default: Any) -> Any:
        value = self.file.metadata.get(key, default)
        if value is _MISSING:
            raise CheckpointError(f"{self.file.path} has no {key}")
        if value is not default and not isinstance(value, kind):
            raise CheckpointError(
                f"{self.file.path}: {key} must be {kind.__name__}, got {short(value)}"
            )
        return value


def read_config(file: GGUFFile) -> dict[str, Any]:
    """The config.json that the file stands for; raises UnsupportedArchitectureError."""
    metadata = Metadata(file)
    if metadata.file.metadata.get("split.count", 1) > 1:
        raise CheckpointError(f"{file.path} is one part of a split GGUF file, which is not read")
    make = CONFIGS.get(metadata.architecture)
    if make is None:
        raise UnsupportedArchitectureError(
            f"{file.path} has the architecture {metadata.architecture!r}, GGUF files of "
            f"{', '.join(sorted(CONFIGS))} are read"
        )
    config = make(metadata)
    config |= {
        "vocab_size": _shape(file, "token_embd.weight")[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "bos_token_id": metadata.token_id("bos"),
        "eos_token_id": metadata.token_id("eos"),
        "pad_token_id": metadata.token_id("padding"),
        "torch_dtype": "float32",
    }
    return config


def _llama_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **_llama_fields(metadata),
        "attention_bias": "blk.0.attn_q.bias" in metadata.file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in metadata.file.tensors,
    }


def _qwen2_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        **_llama_fields(metadata),
    }


def _qwen3_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **_llama_fields(metadata),
        "attention_bias": "blk.0.attn_q.bias" in metadata.file.tensors,
    }


def _llama_fields(metadata: Metadata) -> dict[str, Any]:
    """What Llama and Qwen are both described by."""
    if metadata.integer("expert_count", 0):
        raise UnsupportedArchitectureError(
            f"{metadata.file.path} is a mixture of experts, which is not supported"
        )
    heads = metadata.count("attention.head_count")
    hidden = metadata.count("embedding_length")
    head_dim = metadata.count("attention.key_length", hidden // heads)
    if metadata.integer("rope.dimension_count", head_dim) != head_dim:
        raise UnsupportedArchitectureError(
            f"{metadata.file.path} rotates a part of each head, which is not supported for "
            f"{metadata.architecture}"
        )
    return {
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": metadata.count("feed_forward_length"),
        "num_hidden_layers": metadata.count("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.count("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": metadata.count("context_length"),
        "rms_norm_eps": metadata.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": metadata.number("rope.freq_base", 10000.0),
        "rope_scaling": _rope_scaling(metadata, head_dim),
    }


def _gpt2_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_embd": metadata.count("embedding_length"),
        "n_inner": metadata.count("feed_forward_length", None),
        "n_layer": metadata.count("block_count"),
        "n_head": metadata.count("attention.head_count"),
        "n_positions": metadata.count("context_length"),
        "layer_norm_epsilon": metadata.number("attention.layer_norm_epsilon"),
    }


CONFIGS: dict[str, Callable[[Metadata], dict[str, Any]]] = {
    "llama": _llama_config,
    "gpt2": _gpt2_config,
    "qwen2": _qwen2_config,
    "qwen3": _qwen3_config,
}


def _rope_scaling(metadata: Metadata, head_dim: int) -> dict[str, Any] | None:
    file = metadata.file
    if "rope_freqs.weight" in file.tensors:
        stored = file.read(file.tensors["rope_freqs.weight"]).view(np.float32).ravel()
        theta = metadata.number("rope.freq_base", 10000.0)
        return _llama3_scaling(stored, head_dim=head_dim, theta=theta, path=str(file.path))
    kind = metadata.text("rope.scaling.type", "none")
    if kind == "none":
        return None
    scaling = {"rope_type": kind, "factor": metadata.number("rope.scaling.factor")}
    original = metadata.integer("rope.scaling.original_context_length", None)
    return scaling | ({"original_max_position_embeddings": original} if original else {})


def _llama3_scaling(
    stored: NDArray[np.float32], *, head_dim: int, theta: float, path: str
) -> dict[str, Any]:
    """The published parameters that give the stored factors; raises if none do."""
    scaling = {
        "rope_type": "llama3",
        "factor": float(stored.max()),
        **_LLAMA3,
        "original_max_position_embeddings": _LLAMA3_ORIGINAL_LENGTH,
    }
    given = llama3_factors(scaling, head_dim=head_dim, theta=theta)
    if given.shape != stored.shape or not np.allclose(given, stored, rtol=1e-3):
        raise UnsupportedArchitectureError(
            f"{path}: the factors in rope_freqs.weight are not those of Llama 3, and no others "
            "are supported"
        )
    return scaling


def llama3_factors(scaling: dict[str, Any], *, head_dim: int, theta: float) -> NDArray[np.float64]:
    """By what each frequency is divided (Llama 3.1's reference implementation)."""
    wavelengths = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    turns = scaling["original_max_position_embeddings"] / wavelengths
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    factors: NDArray[np.float64] = 1.0 / ((1.0 - smooth) / scaling["factor"] + smooth)
    return factors


def _shape(file: GGUFFile, name: str) -> tuple[int, ...]:
    if name not in file.tensors:
        raise CheckpointError(f"{file.path} has no tensor {name}")
    return file.tensors[name].shape
