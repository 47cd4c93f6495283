"""Small networks of the wider decoder family: as config.json, and as transformers'."""

from __future__ import annotations

from typing import Any

import needs_torch  # noqa: F401
from networks import LINEAR_ROPE
from parity import VOCABULARY
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

# config.json with what every checkpoint has, and no more.
OPT: dict[str, Any] = {
    "architectures": ["OPTForCausalLM"],
    "model_type": "opt",
    "vocab_size": 100,
    "hidden_size": 64,
    "ffn_dim": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}


def llama_like(architecture: str, model_type: str) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": 100,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128,
    }


QWEN2 = llama_like("Qwen2ForCausalLM", "qwen2")
QWEN3 = llama_like("Qwen3ForCausalLM", "qwen3")
MISTRAL = llama_like("MistralForCausalLM", "mistral")
PHI3 = llama_like("Phi3ForCausalLM", "phi3")
GPT_NEOX = llama_like("GPTNeoXForCausalLM", "gpt_neox")
GPT_NEO: dict[str, Any] = {
    "architectures": ["GPTNeoForCausalLM"],
    "model_type": "gpt_neo",
    "vocab_size": 100,
    "hidden_size": 64,
    "num_layers": 2,
    "num_heads": 4,
    "max_position_embeddings": 512,
    "attention_types": [[["global", "local"], 1]],
}
FALCON: dict[str, Any] = {
    "architectures": ["FalconForCausalLM"],
    "model_type": "falcon",
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
GEMMA = llama_like("GemmaForCausalLM", "gemma")
BLOOM: dict[str, Any] = {
    "architectures": ["BloomForCausalLM"],
    "model_type": "bloom",
    "vocab_size": 100,
    "hidden_size": 64,
    "n_layer": 3,
    "n_head": 4,
}
GEMMA2 = llama_like("Gemma2ForCausalLM", "gemma2")
GEMMA3 = llama_like("Gemma3ForCausalLM", "gemma3_text")
CONFIGS = {
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "bloom": BLOOM,
    "falcon": FALCON,
    "opt": OPT,
    "gpt_neo": GPT_NEO,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "mistral": MISTRAL,
    "phi3": PHI3,
    "gpt_neox": GPT_NEOX,
}


def opt(*, heads: int = 4, head_size: int = 16, **changes: Any) -> OPTConfig:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * head_size,
        "ffn_dim": 72,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "max_position_embeddings": 256,
        "init_std": 0.3,
        "pad_token_id": None,
    }
    return OPTConfig(**fields | changes)


def rope(**fields: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 500.0, **fields}


# Of an original length that is longer than any text of the checks; scores are halved by each,
# which rounds nothing.
LONGROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 500.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0 + i / 4 for i in range(12)],
    "long_factor": [3.0 + i for i in range(12)],
    "attention_factor": 0.5**0.5,
}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "attention_factor": 0.5**0.5,
    "original_max_position_embeddings": 64,
}


def like_llama(
    kind: Any, *, heads: int = 4, kv_heads: int = 2, hidden_size: int = 64, **changes: Any
) -> Any:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": hidden_size,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-2,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "pad_token_id": None,
    }
    return kind(**fields | changes)


def gpt_neox(*, heads: int = 4, head_size: int = 16, **changes: Any) -> GPTNeoXConfig:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * head_size,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "max_position_embeddings": 256,
        "layer_norm_eps": 1e-2,
        "initializer_range": 0.3,
    }
    return GPTNeoXConfig(**fields | changes)


def gpt_neo(*, heads: int = 4, head_size: int = 16, **changes: Any) -> GPTNeoConfig:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * head_size,
        "num_layers": 2,
        "num_heads": heads,
        "max_position_embeddings": 256,
        "window_size": 20,
        "attention_types": [[["global", "local"], 1]],
        "layer_norm_epsilon": 1e-2,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return GPTNeoConfig(**fields | changes)


def falcon(*, heads: int = 4, head_size: int = 16, **changes: Any) -> FalconConfig:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * head_size,
        "ffn_hidden_size": 72,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "max_position_embeddings": 256,
        "layer_norm_epsilon": 1e-2,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return FalconConfig(**fields | changes)


def bloom(*, heads: int = 4, head_size: int = 16, **changes: Any) -> BloomConfig:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * head_size,
        "n_layer": 2,
        "n_head": heads,
        "layer_norm_epsilon": 1e-2,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return BloomConfig(**fields | changes)


GEMMA2_LAYERS: dict[str, Any] = {
    "head_dim": 32,
    "sliding_window": 20,
    "query_pre_attn_scalar": 40,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": 3.0,
    "initializer_range": 0.1,
}
GEMMA3_LAYERS: dict[str, Any] = {
    "head_dim": 32,
    "sliding_window": 20,
    "query_pre_attn_scalar": 40,
    "layer_types": ["sliding_attention", "full_attention"],
}


FAMILY_NETWORKS: dict[str, tuple[Any, Any]] = {
    "opt-16": (OPTForCausalLM, opt()),
    "opt-64-untied-gelu": (
        OPTForCausalLM,
        opt(heads=2, head_size=64, tie_word_embeddings=False, activation_function="gelu"),
    ),
    "opt-16-projected-norm-last": (
        OPTForCausalLM,
        opt(word_embed_proj_dim=24, do_layer_norm_before=False),
    ),
    "opt-80-bare": (
        OPTForCausalLM,
        opt(heads=1, head_size=80, enable_bias=False, layer_norm_elementwise_affine=False),
    ),
    "opt-16-no-final-norm": (OPTForCausalLM, opt(_remove_final_layer_norm=True)),
    "qwen2-16-gqa": (Qwen2ForCausalLM, like_llama(Qwen2Config)),
    "qwen2-64-mqa-tied": (
        Qwen2ForCausalLM,
        like_llama(Qwen2Config, heads=2, kv_heads=1, hidden_size=128, tie_word_embeddings=True),
    ),
    "qwen2-8-mha-window": (
        Qwen2ForCausalLM,
        like_llama(
            Qwen2Config,
            kv_heads=4,
            hidden_size=32,
            use_sliding_window=True,
            sliding_window=20,
            max_window_layers=1,
        ),
    ),
    "qwen3-32-gqa": (Qwen3ForCausalLM, like_llama(Qwen3Config, head_dim=32)),
    "qwen3-128-mha-tied": (
        Qwen3ForCausalLM,
        like_llama(Qwen3Config, heads=2, tie_word_embeddings=True),
    ),
    "qwen3-16-biases": (
        Qwen3ForCausalLM,
        like_llama(Qwen3Config, head_dim=16, attention_bias=True),
    ),
    "mistral-16-gqa": (MistralForCausalLM, like_llama(MistralConfig, sliding_window=None)),
    "mistral-32-mha-window": (
        MistralForCausalLM,
        like_llama(MistralConfig, kv_heads=4, head_dim=32, sliding_window=20),
    ),
    "phi3-16-gqa": (Phi3ForCausalLM, like_llama(Phi3Config)),
    "phi3-32-part": (
        Phi3ForCausalLM,
        like_llama(Phi3Config, hidden_size=128, rope_parameters=rope(partial_rotary_factor=0.75)),
    ),
    "phi3-16-mha-tied-window": (
        Phi3ForCausalLM,
        like_llama(Phi3Config, kv_heads=4, tie_word_embeddings=True, sliding_window=20),
    ),
    "phi3-32-part-longrope": (
        Phi3ForCausalLM,
        like_llama(
            Phi3Config,
            hidden_size=128,
            original_max_position_embeddings=128,
            rope_parameters=LONGROPE,
        ),
    ),
    "qwen3-16-yarn": (
        Qwen3ForCausalLM,
        like_llama(Qwen3Config, head_dim=16, rope_parameters=YARN_ROPE),
    ),
    "gpt_neox-16": (GPTNeoXForCausalLM, gpt_neox()),
    "gpt_neox-64-whole-in-turn": (
        GPTNeoXForCausalLM,
        gpt_neox(
            heads=2,
            head_size=64,
            use_parallel_residual=False,
            rope_parameters=rope(partial_rotary_factor=1.0),
        ),
    ),
    "gpt_neox-80-tied-bare": (
        GPTNeoXForCausalLM,
        gpt_neox(heads=1, head_size=80, tie_word_embeddings=True, attention_bias=False),
    ),
    "gpt_neo-16": (GPTNeoForCausalLM, gpt_neo()),
    "gpt_neo-64-global-untied": (
        GPTNeoForCausalLM,
        gpt_neo(
            heads=1,
            head_size=64,
            intermediate_size=72,
            attention_types=[[["global"], 2]],
            tie_word_embeddings=False,
        ),
    ),
    "falcon-16-mqa": (FalconForCausalLM, falcon()),
    "falcon-16-new-gqa": (
        FalconForCausalLM,
        falcon(new_decoder_architecture=True, num_kv_heads=2, bias=True),
    ),
    "falcon-64-new-one-norm-untied": (
        FalconForCausalLM,
        falcon(
            heads=2,
            head_size=64,
            new_decoder_architecture=True,
            num_kv_heads=2,
            num_ln_in_parallel_attn=1,
            tie_word_embeddings=False,
        ),
    ),
    "falcon-16-mha-in-turn": (
        FalconForCausalLM,
        falcon(multi_query=False, parallel_attn=False, rope_parameters=rope()),
    ),
    "falcon-16-mha-slopes": (
        FalconForCausalLM,
        falcon(
            multi_query=False,
            parallel_attn=False,
            alibi=True,
            bias=True,
            tie_word_embeddings=False,
        ),
    ),
    "gemma-32-gqa-tied": (
        GemmaForCausalLM,
        like_llama(GemmaConfig, head_dim=32, tie_word_embeddings=True),
    ),
    "gemma-16-mqa-biases": (
        GemmaForCausalLM,
        like_llama(GemmaConfig, kv_heads=1, head_dim=16, attention_bias=True, hidden_act="gelu"),
    ),
    "bloom-16-untied": (BloomForCausalLM, bloom(tie_word_embeddings=False)),
    "bloom-8-six-heads": (
        BloomForCausalLM,
        bloom(heads=6, head_size=8, initializer_range=1.0),  # else it repeats itself
    ),
    "gemma2-32-gqa-tied": (
        Gemma2ForCausalLM,
        like_llama(Gemma2Config, **GEMMA2_LAYERS | {"tie_word_embeddings": True}),
    ),
    "gemma2-32-mha-global-uncapped": (
        Gemma2ForCausalLM,
        like_llama(
            Gemma2Config,
            **GEMMA2_LAYERS | {"final_logit_softcapping": None, "attention_bias": True},
            kv_heads=4,
            layer_types=["full_attention"] * 2,
        ),
    ),
    "gemma3-32-gqa-tied": (
        Gemma3ForCausalLM,
        like_llama(  # with embeddings small enough that they alone do not decide a text
            Gemma3TextConfig, **GEMMA3_LAYERS, tie_word_embeddings=True, initializer_range=0.1
        ),
    ),
    "gemma3-32-mha-global": (
        Gemma3ForCausalLM,
        like_llama(
            Gemma3TextConfig,
            **GEMMA3_LAYERS | {"layer_types": ["full_attention"] * 2},
            kv_heads=4,
            rope_parameters={"full_attention": LINEAR_ROPE},
        ),
    ),
}
# Of transformers' attentions, the eager one alone bounds its scores.
SOFT_CAPPED_NETWORKS: dict[str, tuple[Any, Any]] = {
    "gemma2-32-gqa-capped": (
        Gemma2ForCausalLM,
        like_llama(
            Gemma2Config,
            **GEMMA2_LAYERS | {"attn_logit_softcapping": 1.0},
            attn_implementation="eager",
        ),
    ),
    "gemma2-32-mha-global-capped": (
        Gemma2ForCausalLM,
        like_llama(
            Gemma2Config,
            **GEMMA2_LAYERS | {"attn_logit_softcapping": 1.0, "final_logit_softcapping": None},
            kv_heads=4,
            layer_types=["full_attention"] * 2,
            attn_implementation="eager",
        ),
    ),
}
