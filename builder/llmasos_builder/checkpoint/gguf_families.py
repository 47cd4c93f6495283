"""What a GGUF file's metadata says of a Gemma, a Phi-3, and of those that have LayerNorm.

GGUF leaves out what llama.cpp knows of each architecture by itself; here it is written out,
as llama.cpp's sources (llama-model.cpp) have it.
"""

from __future__ import annotations

from typing import Any

from llmasos_builder.checkpoint.gguf_llama import gated_sizes
from llmasos_builder.checkpoint.gguf_metadata import Metadata

# Layers of the only models whose scores are scaled by an equal share of the hidden size.
_GEMMA2_27B, _GEMMA3_27B = 46, 62
_GEMMA3_LOCAL_BASE = 10000.0
_GEMMA3_PATTERN = 6


def gemma_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        **_gemma_fields(metadata),
        "hidden_act": "gelu_pytorch_tanh",
    }


def gemma2_config(metadata: Metadata) -> dict[str, Any]:
    return {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        **_gemma_fields(metadata),
        "attn_logit_softcapping": metadata.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": metadata.number("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": _score_divisor(metadata, _GEMMA2_27B),
        "sliding_window": metadata.count("attention.sliding_window"),
    }


def gemma3_config(metadata: Metadata) -> dict[str, Any]:
    window = metadata.count("attention.sliding_window", None)
    kinds = ["full_attention"] * metadata.count("block_count")
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        **_gemma_fields(metadata),
        "final_logit_softcapping": metadata.number("final_logit_softcapping", None),
        "query_pre_attn_scalar": _score_divisor(metadata, _GEMMA3_27B),
        "rope_theta": metadata.number("rope.freq_base", 1_000_000.0),
        "rope_local_base_freq": _GEMMA3_LOCAL_BASE,
        "rope_scaling": _scaling(metadata),
        "sliding_window": window,
        "sliding_window_pattern": _GEMMA3_PATTERN,
        **({} if window else {"layer_types": kinds}),
    }


def phi3_config(metadata: Metadata) -> dict[str, Any]:
    sizes = gated_sizes(metadata)
    head_size = sizes["hidden_size"] // sizes["num_attention_heads"]
    original = metadata.count("rope.scaling.original_context_length", None)
    return {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        **sizes,
        "rope_theta": metadata.number("rope.freq_base", 10000.0),
        "rope_scaling": _longrope(metadata) or _scaling(metadata),
        "partial_rotary_factor": _rotated_part(metadata, head_size),
        "sliding_window": metadata.integer("attention.sliding_window", 0) or None,
        **({"original_max_position_embeddings": original} if original else {}),
    }


def _longrope(metadata: Metadata) -> dict[str, Any] | None:
    """Of models for long texts alone, whose factors are tensors."""
    file = metadata.file
    names = {key: f"rope_factors_{key}.weight" for key in ("short", "long")}
    found = {key: file.tensors[name] for key, name in names.items() if name in file.tensors}
    if not found:
        return None
    factor = metadata.number("rope.scaling.attn_factor", None)
    return {
        "rope_type": "longrope",
        **{f"{key}_factor": file.read(entry).ravel().tolist() for key, entry in found.items()},
        **({"attention_factor": factor} if factor else {}),
    }


def gpt2_config(metadata: Metadata) -> dict[str, Any]:
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
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": hidden_size,
        "intermediate_size": metadata.count("feed_forward_length"),
        "num_hidden_layers": metadata.count("block_count"),
        "num_attention_heads": heads,
        "max_position_embeddings": metadata.count("context_length"),
        "layer_norm_eps": metadata.number("attention.layer_norm_epsilon"),
        "rotary_emb_base": metadata.number("rope.freq_base", 10000.0),
        "rotary_pct": _rotated_part(metadata, hidden_size // heads),
        "use_parallel_residual": metadata.flag("use_parallel_residual", True),
    }


def bloom_config(metadata: Metadata) -> dict[str, Any]:
    hidden_size, heads = _width(metadata)
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
    """One head of key and value is of the first generation, several are of the second."""
    hidden_size, heads = _width(metadata)
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
        "rope_theta": metadata.number("rope.freq_base", 10000.0),
        "new_decoder_architecture": kv_heads > 1,
        "bias": "blk.0.attn_qkv.bias" in metadata.file.tensors,
        **(new if kv_heads > 1 else {"multi_query": True, "num_kv_heads": 1}),
    }


def _gemma_fields(metadata: Metadata) -> dict[str, Any]:
    return {
        **gated_sizes(metadata),
        "head_dim": metadata.count("attention.key_length", 256),
        "attention_bias": "blk.0.attn_q.bias" in metadata.file.tensors,
    }


def _score_divisor(metadata: Metadata, num_layers: int) -> int:
    """What scores are divided by the root of: a head's size, but for one model."""
    if metadata.count("block_count") == num_layers:
        hidden_size, heads = _width(metadata)
        return hidden_size // heads
    return int(metadata.count("attention.key_length", 256))


def _scaling(metadata: Metadata) -> dict[str, Any] | None:
    kind = metadata.text("rope.scaling.type", "none")
    if kind == "none":
        return None
    return {"rope_type": kind, "factor": metadata.number("rope.scaling.factor")}


def _width(metadata: Metadata) -> tuple[int, int]:
    """The hidden size and its heads."""
    return metadata.count("embedding_length"), metadata.count("attention.head_count")


def _rotated_part(metadata: Metadata, head_size: int) -> float:
    return float(metadata.count("rope.dimension_count", head_size) / max(1, head_size))
