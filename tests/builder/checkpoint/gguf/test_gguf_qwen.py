"""GGUF files of Qwen: other names, as gguf's own table has them, and rows as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.tensors import check_tensors, required_tensors
from llmasos_builder.checkpoint import open_checkpoint
from made_gguf import CONTEXT, HEADS, HIDDEN, INNER, KV_HEADS, VOCABULARY, write_gguf

HEAD_SIZES = {"qwen2": HIDDEN // HEADS, "qwen3": 32}
NAMES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
TABLES: dict[str, Any] = {"qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}


def config(architecture: str, **changes: Any) -> dict[str, Any]:
    return {
        "architectures": [NAMES[architecture]],
        "model_type": architecture,
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZES[architecture],
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        **changes,
    }


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {}),
        ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
    ],
)
def test_a_qwen_is_the_checkpoint_that_it_was_made_from(
    tmp_path: Path, architecture: str, changes: dict[str, Any]
) -> None:
    spec = decoder_spec(config(architecture, **changes))
    draw = np.random.default_rng(0)
    weights = {
        name: draw.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in required_tensors(spec).items()
    }
    table = gguf.get_tensor_name_map(TABLES[architecture], 2)
    tensors = {table.get_name(n, try_suffixes=(".weight", ".bias")): w for n, w in weights.items()}
    values = {f"{architecture}.attention.key_length": HEAD_SIZES[architecture]}
    path = write_gguf(tmp_path / "m.gguf", tensors, architecture=architecture, values=values)
    checkpoint = open_checkpoint(path)
    assert decoder_spec(checkpoint.config) == spec
    assert check_tensors(spec, checkpoint.weights).keys() == weights.keys()
    for name, weight in weights.items():
        assert np.array_equal(checkpoint.weights.load(name), weight), name
