"""Small networks: as config.json, and as transformers' with what each has for itself."""

from __future__ import annotations

from typing import Any

import needs_torch  # noqa: F401
from parity import VOCABULARY
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

# config.json with what every checkpoint has, and no more.
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
GPT2: dict[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 100,
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 128,
}

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0}


def llama(*, heads: int = 4, kv_heads: int = 2, head_size: int = 16, **changes: Any) -> LlamaConfig:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 8 * heads,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_size,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-2,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
    }
    return LlamaConfig(**fields | changes)


def gpt2(*, heads: int = 4, head_size: int = 16, **changes: Any) -> GPT2Config:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "n_embd": heads * head_size,
        "n_layer": 2,
        "n_head": heads,
        "n_positions": 256,
        "layer_norm_epsilon": 1e-2,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return GPT2Config(**fields | changes)


NETWORKS: dict[str, tuple[Any, Any]] = {
    "llama-8-gqa": (LlamaForCausalLM, llama(heads=8, kv_heads=2, head_size=8)),
    "llama-16-mha-tied": (LlamaForCausalLM, llama(kv_heads=4, tie_word_embeddings=True)),
    "llama-64-mqa": (LlamaForCausalLM, llama(kv_heads=1, head_size=64)),
    "llama-80-biases": (
        LlamaForCausalLM,
        llama(head_size=80, attention_bias=True, mlp_bias=True, hidden_act="gelu"),
    ),
    "llama-96-linear": (LlamaForCausalLM, llama(head_size=96, rope_parameters=LINEAR_ROPE)),
    "llama-128-llama3": (
        LlamaForCausalLM,
        llama(head_size=128, attention_bias=True, rope_parameters=LLAMA3_ROPE),
    ),
    "gpt2-16": (GPT2LMHeadModel, gpt2()),
    "gpt2-64-relu": (
        GPT2LMHeadModel,
        gpt2(heads=2, head_size=64, n_inner=72, activation_function="relu"),
    ),
    "gpt2-8-scaled-by-layer": (
        GPT2LMHeadModel,
        gpt2(head_size=8, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True),
    ),
    "gpt2-80-untied-unscaled": (
        GPT2LMHeadModel,
        gpt2(heads=1, head_size=80, scale_attn_weights=False, tie_word_embeddings=False),
    ),
}
