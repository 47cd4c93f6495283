"""Whole steps of native engines against the reference in which the same things are quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import needs_native  # noqa: F401
import numpy as np
import pytest
from llmasos.engine.plan import Precision
from native_plans import build, loaded, packed, random_weights, reference, spec_of

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
    "heads of 128 of their own": (
        LLAMA | {"head_dim": 128, "num_key_value_heads": 4, "hidden_act": "gelu_pytorch_tanh"},
        "int8",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_the_quantized_reference(name: str, tmp_path: Path) -> None:
    config, precision = NETWORKS[name]
    spec = spec_of(config)
    weights = random_weights(spec)
    plan = build(spec, weights, tmp_path, precision)
    with loaded(plan, tmp_path) as forward:
        logits = forward.logits(packed([(TOKENS, 0, [5, 2, 7])])).copy()
        likeliest = forward.likeliest(packed([(TOKENS, 0, [5, 2, 7])]))
    expected = reference(spec, weights, TOKENS, precision)
    difference = np.abs(logits - expected)
    share = np.mean(difference < 1e-3 * expected.std())
    print(name, np.median(difference), difference.max(), share)
    assert likeliest == logits.argmax(axis=1).tolist()
    assert np.median(difference) < 0.01 * expected.std()
