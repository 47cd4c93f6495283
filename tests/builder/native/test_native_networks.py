"""Whole steps of native engines against the reference in which the same things are quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import needs_native  # noqa: F401
import numpy as np
import pytest
from llmasos.engine.plan import Precision
from native_plans import (
    BLOOM,
    GEMMA2_FIELDS,
    GEMMA3_FIELDS,
    build,
    loaded,
    packed,
    random_weights,
    reference,
    spec_of,
)

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 131,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
QWEN2 = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
QWEN3 = LLAMA | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
TOKENS = [(7 * i + i * i) % 131 for i in range(90)]
ONE_LAYER = LLAMA | {"num_hidden_layers": 1}
GEMMA = {name: value for name, value in ONE_LAYER.items() if name != "tie_word_embeddings"} | {
    "architectures": ["GemmaForCausalLM"],
    "model_type": "gemma",
    "hidden_activation": "gelu_pytorch_tanh",
    "head_dim": 256,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
SANDWICHED = LLAMA | {
    "head_dim": 32,
    "hidden_size": 300,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "sliding_window": 37,
    "layer_types": ["sliding_attention", "full_attention"],
}
GEMMA2 = SANDWICHED | GEMMA2_FIELDS
GEMMA3 = SANDWICHED | GEMMA3_FIELDS
PHI3 = {name: value for name, value in GEMMA.items() if name != "head_dim"} | {
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "hidden_activation": None,
    "hidden_size": 384,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "partial_rotary_factor": 0.5,
    "pad_token_id": 0,
}
GPT2: dict[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 131,
    "n_embd": 128,
    "n_inner": 200,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
}
GPT_NEO: dict[str, Any] = {
    "architectures": ["GPTNeoForCausalLM"],
    "model_type": "gpt_neo",
    "vocab_size": 131,
    "hidden_size": 72,
    "num_layers": 2,
    "num_heads": 4,
    "intermediate_size": 192,
    "max_position_embeddings": 256,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 20,
}
OPT: dict[str, Any] = {
    "architectures": ["OPTForCausalLM"],
    "model_type": "opt",
    "vocab_size": 131,
    "hidden_size": 128,
    "ffn_dim": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GPT_NEOX: dict[str, Any] = {
    "architectures": ["GPTNeoXForCausalLM"],
    "model_type": "gpt_neox",
    "vocab_size": 131,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "rotary_pct": 0.25,
}
FALCON: dict[str, Any] = {
    "architectures": ["FalconForCausalLM"],
    "model_type": "falcon",
    "vocab_size": 131,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "multi_query": True,
    "parallel_attn": True,
}
MISTRAL = LLAMA | {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "sliding_window": 37,
}
OTHER_SHAPES: dict[str, dict[str, Any]] = {
    "opt": OPT,
    "falcon": FALCON,
    "falcon with ALiBi": FALCON | {"alibi": True, "parallel_attn": False},
    "gemma": GEMMA,
    "phi3, rotated in part": PHI3,
    "twelve heads of 256 that share one": ONE_LAYER
    | {"head_dim": 256, "num_attention_heads": 12, "num_key_value_heads": 1},
    "heads of 192 in odd sizes": ONE_LAYER
    | {"head_dim": 192, "hidden_size": 1000, "intermediate_size": 1333},
}
NETWORKS: dict[str, tuple[dict[str, Any], Precision]] = {
    "llama": (LLAMA, "int8"),
    "llama in int4": (LLAMA, "int4"),
    "untied": (LLAMA | {"tie_word_embeddings": False}, "int8"),
    "biases": (LLAMA | {"attention_bias": True, "mlp_bias": True}, "int8"),
    "biases in int4": (LLAMA | {"attention_bias": True, "mlp_bias": True}, "int4"),
    "qwen2": (QWEN2, "int8"),
    "qwen3": (QWEN3, "int8"),
    "sizes with tails": (
        LLAMA | {"hidden_size": 72, "intermediate_size": 104, "head_dim": 20},
        "int8",
    ),
    "qwen3 with tails in int4": (
        QWEN3 | {"hidden_size": 100, "intermediate_size": 72, "head_dim": 44},
        "int4",
    ),
    "gemma 3, with norms behind each part": (GEMMA3, "int8"),
    "gemma 3 in int4": (GEMMA3, "int4"),
    "gemma 2, with soft caps": (GEMMA2, "int8"),
    "bloom, with a norm of embeddings and ALiBi": (BLOOM, "int8"),
    "bloom in int4": (BLOOM, "int4"),
    "gpt2": (GPT2, "int8"),
    "gpt2, sizes with tails": (GPT2 | {"n_embd": 72, "n_inner": 100}, "int8"),
    "gpt-neo, windows in half of the layers": (GPT_NEO, "int8"),
    "gpt-neox": (GPT_NEOX, "int8"),
    "gpt-neox, one part after the other": (
        GPT_NEOX | {"use_parallel_residual": False, "hidden_act": "gelu_new"},
        "int8",
    ),
    "mistral with a window": (MISTRAL, "int8"),
    "heads of 128 of their own": (
        LLAMA | {"head_dim": 128, "num_key_value_heads": 4, "hidden_act": "gelu_pytorch_tanh"},
        "int8",
    ),
}


def share_that_is_exact(config: dict[str, Any], precision: Precision, directory: Path) -> float:
    """Of all logits, those that are the reference's but for the last bits.

    The others have seen a number that rounds to one byte here and to its neighbour there.
    """
    spec = spec_of(config)
    weights = random_weights(spec)
    plan = build(spec, weights, directory, precision)
    with loaded(plan, directory) as forward:
        inputs = packed([(TOKENS, 0, [5, 2, 7])])
        logits = forward.logits(inputs).copy()
        assert forward.likeliest(inputs) == logits.argmax(axis=1).tolist()
    expected = reference(spec, weights, TOKENS, precision)
    difference = np.abs(logits - expected)
    assert difference.max() < 0.5 * expected.std()
    return float(np.mean(difference < 1e-5 * expected.std()))


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_the_quantized_reference(name: str, tmp_path: Path) -> None:
    assert share_that_is_exact(*NETWORKS[name], tmp_path) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_SHAPES)
def test_so_are_those_of_other_shapes(name: str, tmp_path: Path) -> None:
    assert share_that_is_exact(OTHER_SHAPES[name], "int8", tmp_path) > 0.5
