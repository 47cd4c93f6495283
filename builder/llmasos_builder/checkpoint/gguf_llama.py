"""What a GGUF file's metadata says of a Llama and of those that are like one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llmasos.errors import UnsupportedArchitectureError
from numpy.typing import NDArray

from llmasos_builder.checkpoint.gguf_metadata import Metadata

# Llama 3.1's published scaling; GGUF keeps only the factors that it gives.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_ORIGINAL_LENGTH = 8192


def llama_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **llama_fields(metadata),
        "attention_bias": "blk.0.attn_q.bias" in metadata.file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in metadata.file.tensors,
    }


def qwen2_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        **llama_fields(metadata),
    }


def qwen3_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **llama_fields(metadata),
        "attention_bias": "blk.0.attn_q.bias" in metadata.file.tensors,
    }


def llama_fields(metadata: Metadata) -> dict[str, Any]:
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
        **gated_sizes(metadata),
        "hidden_act": "silu",
        "head_dim": head_dim,
        "rope_theta": metadata.number("rope.freq_base", 10000.0),
        "rope_scaling": rope_scaling(metadata, head_dim),
    }


def gated_sizes(metadata: Metadata) -> dict[str, Any]:
    """What all that have RMSNorm and a gated MLP are described by."""
    heads = metadata.count("attention.head_count")
    return {
        "hidden_size": metadata.count("embedding_length"),
        "intermediate_size": metadata.count("feed_forward_length"),
        "num_hidden_layers": metadata.count("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.count("attention.head_count_kv", heads),
        "max_position_embeddings": metadata.count("context_length"),
        "rms_norm_eps": metadata.number("attention.layer_norm_rms_epsilon"),
    }


def rope_scaling(metadata: Metadata, head_dim: int) -> dict[str, Any] | None:
    file = metadata.file
    if "rope_freqs.weight" in file.tensors:
        stored = file.read(file.tensors["rope_freqs.weight"]).ravel()
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
