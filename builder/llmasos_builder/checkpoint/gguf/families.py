"""Reads GGUF metadata of Gemma, Phi-3, and the families with LayerNorm.

GGUF leaves out what llama.cpp knows about each architecture; it is written out here, following
llama.cpp's sources (llama-model.cpp).
"""

from __future__ import annotations

from typing import Any

from llmasos.errors import CheckpointError

from llmasos_builder.checkpoint.gguf.llama import (
    as_many_heads_of_key_and_value,
    gated_sizes,
    head_size_of,
    share_of_the_hidden_size,
)
from llmasos_builder.checkpoint.gguf.metadata import Metadata
from llmasos_builder.checkpoint.gguf.rope import (
    check_whole_heads_rotate,
    rope_factors,
    rotary_fields,
)

# Layers of the only models whose scores are scaled by an equal share of the hidden size.
_GEMMA2_27B, _GEMMA3_27B = 46, 62
_GEMMA3_BASE = 1_000_000.0
_GEMMA3_LOCAL_BASE = 10000.0
_GEMMA_HEAD_SIZE = 256
_GEMMA2_WINDOW = 4096
_PATTERNS = {"gemma2": 2, "gemma3": 6}


def gemma_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        **_gemma_fields(metadata),
        "hidden_act": "gelu_pytorch_tanh",
    }


def gemma2_config(metadata: Metadata) -> dict[str, Any]:
    fields = _gemma_fields(metadata)
    metadata.must_be("rope.freq_base_swa", fields["rope_theta"])
    return {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        **fields,
        "attn_logit_softcapping": metadata.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": metadata.number("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": _score_divisor(metadata, _GEMMA2_27B),
        "sliding_window": metadata.count("attention.sliding_window", _GEMMA2_WINDOW),
        "layer_types": _layer_types(metadata),
    }


def gemma3_config(metadata: Metadata) -> dict[str, Any]:
    window = metadata.integer("attention.sliding_window", 0)
    kinds = _layer_types(metadata)
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        **_gemma_fields(metadata, default_base=_GEMMA3_BASE),
        "final_logit_softcapping": metadata.number("final_logit_softcapping", None),
        "query_pre_attn_scalar": _score_divisor(metadata, _GEMMA3_27B),
        "rope_local_base_freq": metadata.number("rope.freq_base_swa", _GEMMA3_LOCAL_BASE),
        "sliding_window": window or None,
        "layer_types": kinds if window else ["full_attention"] * len(kinds),
    }


def phi3_config(metadata: Metadata) -> dict[str, Any]:
    head_size = share_of_the_hidden_size(metadata)
    original = metadata.count("rope.scaling.original_context_length", None)
    factors = rope_factors(metadata)
    positions = rotary_fields(metadata, scaling=factors)
    return {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        **gated_sizes(metadata),
        **positions,
        "partial_rotary_factor": _rotated_part(metadata, head_size),
        "sliding_window": metadata.integer("attention.sliding_window", 0) or None,
        **({"original_max_position_embeddings": original} if original else {}),
    }


def gpt2_config(metadata: Metadata) -> dict[str, Any]:
    share_of_the_hidden_size(metadata)
    as_many_heads_of_key_and_value(metadata)
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


def gptneox_config(metadata: Metadata) -> dict[str, Any]:
    hidden_size, heads = _width(metadata)
    head_size = share_of_the_hidden_size(metadata)
    as_many_heads_of_key_and_value(metadata)
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": hidden_size,
        "intermediate_size": metadata.count("feed_forward_length"),
        "num_hidden_layers": metadata.count("block_count"),
        "num_attention_heads": heads,
        "max_position_embeddings": metadata.count("context_length"),
        "layer_norm_eps": metadata.number("attention.layer_norm_epsilon"),
        **rotary_fields(metadata, name="rotary_emb_base"),
        "rotary_pct": _rotated_part(metadata, head_size),
        "use_parallel_residual": metadata.flag("use_parallel_residual", True),
    }


def bloom_config(metadata: Metadata) -> dict[str, Any]:
    hidden_size, heads = _width(metadata)
    share_of_the_hidden_size(metadata)
    as_many_heads_of_key_and_value(metadata)
    return {
        "architectures": ["BloomForCausalLM"],
        "model_type": "bloom",
        "hidden_size": hidden_size,
        "n_layer": metadata.count("block_count"),
        "n_head": heads,
        "seq_length": metadata.count("context_length"),
        "layer_norm_epsilon": metadata.number("attention.layer_norm_epsilon"),
    }


def falcon_config(metadata: Metadata) -> dict[str, Any]:
    """One key-value head means the first generation, several the second."""
    hidden_size, heads = _width(metadata)
    check_whole_heads_rotate(metadata, share_of_the_hidden_size(metadata))
    kv_heads = metadata.count("attention.head_count_kv", 1)
    two_norms = "blk.0.attn_norm_2.weight" in metadata.file.tensors
    new = {"num_kv_heads": kv_heads, "num_ln_in_parallel_attn": 1 + two_norms}
    return {
        "architectures": ["FalconForCausalLM"],
        "model_type": "falcon",
        "hidden_size": hidden_size,
        "ffn_hidden_size": metadata.count("feed_forward_length"),
        "num_hidden_layers": metadata.count("block_count"),
        "num_attention_heads": heads,
        "max_position_embeddings": metadata.count("context_length"),
        "layer_norm_epsilon": metadata.number("attention.layer_norm_epsilon"),
        **rotary_fields(metadata),
        "new_decoder_architecture": kv_heads > 1,
        "bias": "blk.0.attn_qkv.bias" in metadata.file.tensors,
        **(new if kv_heads > 1 else {"multi_query": True, "num_kv_heads": 1}),
    }


def _gemma_fields(metadata: Metadata, *, default_base: float = 10000.0) -> dict[str, Any]:
    head_size = head_size_of(metadata, default=_GEMMA_HEAD_SIZE)
    check_whole_heads_rotate(metadata, head_size)
    return {
        **gated_sizes(metadata),
        **rotary_fields(metadata, default_base=default_base),
        "head_dim": head_size,
        "attention_bias": "blk.0.attn_q.bias" in metadata.file.tensors,
    }


def _layer_types(metadata: Metadata) -> list[str]:
    """Returns the kind of each layer; the pattern is a period of full layers, or a list of
    flags.
    """
    layers, key = metadata.count("block_count"), "attention.sliding_window_pattern"
    slides = metadata.integer_or_flags(key, _PATTERNS[metadata.architecture])
    if isinstance(slides, int):
        slides = [slides == 0 or layer % slides < slides - 1 for layer in range(layers)]
    if len(slides) != layers:
        raise CheckpointError(
            f"{metadata.file.path}: {metadata.architecture}.{key} has {len(slides)} entries for "
            f"{layers} layers"
        )
    return ["sliding_attention" if sliding else "full_attention" for sliding in slides]


def _score_divisor(metadata: Metadata, num_layers: int) -> int:
    """Scores are divided by the root of this: the head's size, except in one model."""
    if metadata.count("block_count") == num_layers:
        hidden_size, heads = _width(metadata)
        return hidden_size // heads
    return int(metadata.count("attention.key_length", 256))


def _width(metadata: Metadata) -> tuple[int, int]:
    """Returns the hidden size and the number of heads."""
    return metadata.count("embedding_length"), metadata.count("attention.head_count")


def _rotated_part(metadata: Metadata, head_size: int) -> float:
    return float(metadata.count("rope.dimension_count", head_size) / max(1, head_size))
