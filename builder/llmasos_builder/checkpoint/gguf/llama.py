"""Reads GGUF metadata of Llama and similar networks."""

from __future__ import annotations

from typing import Any

from llmasos_builder.checkpoint.gguf.metadata import Metadata
from llmasos_builder.checkpoint.gguf.rope import (
    check_whole_heads_rotate,
    llama3_scaling,
    rotary_fields,
)


def llama_config(metadata: Metadata) -> dict[str, Any]:
    fields = llama_fields(metadata)
    scaling = llama3_scaling(metadata, fields["head_dim"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **fields,
        **({"rope_scaling": scaling} if scaling else {}),
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
    """Returns the fields that Llama and Qwen share."""
    head_size = head_size_of(metadata)
    check_whole_heads_rotate(metadata, head_size)
    positions = rotary_fields(metadata)
    return {
        **gated_sizes(metadata),
        "hidden_act": "silu",
        "head_dim": head_size,
        **positions,
    }


def gated_sizes(metadata: Metadata) -> dict[str, Any]:
    """Returns the fields of every network with RMSNorm and a gated MLP."""
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


def head_size_of(metadata: Metadata, *, default: int | None = None) -> int:
    """Returns the size of query, key and value heads; default: None is a share of the hidden
    size.
    """
    share = metadata.count("embedding_length") // metadata.count("attention.head_count")
    size = int(metadata.count("attention.key_length", default or max(1, share)))
    metadata.must_be("attention.value_length", size)
    return size


def share_of_the_hidden_size(metadata: Metadata) -> int:
    """Returns the size of a head, for networks whose config.json cannot give another."""
    hidden_size = metadata.count("embedding_length")
    size = int(hidden_size // metadata.count("attention.head_count"))
    for key in ("attention.key_length", "attention.value_length"):
        metadata.must_be(key, size)
    return size


def as_many_heads_of_key_and_value(metadata: Metadata) -> None:
    """Refuses shared keys and values, for networks whose config.json cannot express them."""
    metadata.must_be("attention.head_count_kv", metadata.count("attention.head_count"))
