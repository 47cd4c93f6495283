"""GGUF files of the wider family are the checkpoints that they were made from.

Each is converted here as llama.cpp's converter does it: gguf's own table of names, and the
same changes of layout, written down anew.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from llmasos.errors import CheckpointError
from llmasos_builder.architectures import Decoder, decoder_spec
from llmasos_builder.architectures.tensors import check_tensors, required_tensors
from llmasos_builder.checkpoint import open_checkpoint
from made_gguf import CONTEXT, HEADS, HIDDEN, INNER, KV_HEADS, VOCABULARY, Array, write_gguf

NORMS_WITH_ONE_ADDED = {"gemma", "gemma2", "gemma3"}
HEADS_APART = {"gptneox", "bloom", "falcon"}


def sizes(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "layer_norm_eps": 1e-5,
        **changes,
    }


FALCON = sizes("FalconForCausalLM", "falcon", ffn_hidden_size=INNER)
GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 20}
GEMMA_VALUES = {"attention.key_length": 32, "attention.sliding_window": 20}
# GGUF's name, config.json, and what GGUF's metadata has beside the sizes that all have.
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "gemma": (
        "gemma",
        sizes("GemmaForCausalLM", "gemma", head_dim=32),
        {"attention.key_length": 32},
    ),
    "gemma2": (
        "gemma2",
        sizes("Gemma2ForCausalLM", "gemma2", **GEMMA),
        GEMMA_VALUES | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma2 27b": (
        "gemma2",
        sizes(
            "Gemma2ForCausalLM",
            "gemma2",
            **GEMMA | {"query_pre_attn_scalar": HIDDEN // HEADS},
            num_hidden_layers=46,
        ),
        GEMMA_VALUES,
    ),
    "gemma3": (
        "gemma3",
        sizes(
            "Gemma3ForCausalLM",
            "gemma3_text",
            **GEMMA,
            num_hidden_layers=7,
            rope_theta=1e6,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
        ),
        GEMMA_VALUES
        | {"rope.freq_base": 1e6, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
    "phi3": (
        "phi3",
        sizes("Phi3ForCausalLM", "phi3", sliding_window=20, partial_rotary_factor=0.75),
        {"rope.dimension_count": 12, "attention.sliding_window": 20},
    ),
    "phi3 without a window": (
        "phi3",
        sizes("Phi3ForCausalLM", "phi3", tie_word_embeddings=True),
        {"rope.dimension_count": 16, "attention.sliding_window": 0},
    ),
    "gptneox": (
        "gptneox",
        sizes("GPTNeoXForCausalLM", "gpt_neox", rotary_pct=0.25),
        {
            "attention.head_count_kv": None,
            "rope.dimension_count": 4,
            "use_parallel_residual": True,
        },
    ),
    "gptneox in turn": (
        "gptneox",
        sizes("GPTNeoXForCausalLM", "gpt_neox", rotary_pct=1.0, use_parallel_residual=False),
        {
            "attention.head_count_kv": HEADS,
            "rope.dimension_count": 16,
            "use_parallel_residual": False,
        },
    ),
    "bloom": (
        "bloom",
        sizes("BloomForCausalLM", "bloom", n_layer=2, n_head=HEADS, seq_length=CONTEXT),
        {"feed_forward_length": 4 * HIDDEN, "attention.head_count_kv": HEADS},
    ),
    "falcon": ("falcon", FALCON, {"attention.head_count_kv": 1}),
    "falcon of the second generation": (
        "falcon",
        FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
        {"attention.head_count_kv": 2},
    ),
    "falcon of the second generation with one norm": (
        "falcon",
        FALCON
        | {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
        {"attention.head_count_kv": 2},
    ),
}


def random_weights(spec: Decoder) -> dict[str, Array]:
    draw = np.random.default_rng(0)
    return {
        name: draw.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in required_tensors(spec).items()
    }


def converted(kind: str, weights: dict[str, Array], spec: Decoder) -> dict[str, Array]:
    """As llama.cpp's converter names and lays them out."""
    table = gguf.get_tensor_name_map(_architecture(kind), spec.num_layers)
    tensors = {}
    for name, weight in weights.items():
        stored = weight
        if kind in NORMS_WITH_ONE_ADDED and name.endswith("norm.weight"):
            stored = weight + 1
        if kind in HEADS_APART and "query_key_value" in name:
            groups = weight.reshape(spec.num_kv_heads, -1, spec.head_size, *weight.shape[1:])
            parts = [groups[:, :-2], groups[:, -2:-1], groups[:, -1:]]
            stored = np.concatenate([part.reshape(-1, *weight.shape[1:]) for part in parts])
        known = name.removeprefix("transformer.") if kind == "bloom" else name
        tensors[table.get_name(known, try_suffixes=(".weight", ".bias"))] = stored
    return tensors


def _architecture(kind: str) -> Any:
    return next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == kind)


def write(path: Path, name: str, **changes: Any) -> tuple[Decoder, dict[str, Array]]:
    kind, config, values = FAMILIES[name]
    spec = decoder_spec(config)
    weights = random_weights(spec)
    counts = {"block_count": spec.num_layers, "attention.layer_norm_epsilon": 1e-5}
    metadata = {f"{kind}.{key}": value for key, value in (counts | values | changes).items()}
    write_gguf(path, converted(kind, weights, spec), architecture=kind, values=metadata)
    return spec, weights


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_is_the_checkpoint_that_it_was_made_from(tmp_path: Path, name: str) -> None:
    spec, weights = write(tmp_path / "m.gguf", name)
    checkpoint = open_checkpoint(tmp_path / "m.gguf")
    assert decoder_spec(checkpoint.config) == spec
    assert check_tensors(spec, checkpoint.weights).keys() == weights.keys()
    for tensor, weight in weights.items():
        # A norm with 1 added has lost its last bits.
        tolerance = 1.2e-7 if "norm" in tensor else 0
        loaded = checkpoint.weights.load(tensor)
        np.testing.assert_allclose(loaded, weight, rtol=0, atol=tolerance, err_msg=tensor)


SHORT, LONG = [1.0, 1.25, 1.5, 2.0, 3.0, 4.0], [2.0, 3.0, 5.0, 7.0, 11.0, 13.0]


def write_longrope(path: Path, factors: dict[str, list[float]], **values: Any) -> Decoder:
    """A Phi-3 for long texts, whose factors llama.cpp keeps as tensors; its spec."""
    kind, config, metadata = FAMILIES["phi3"]
    parameters = {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}
    spec = decoder_spec(
        {**config, "rope_scaling": parameters, "original_max_position_embeddings": 32}
    )
    tensors = converted(kind, random_weights(spec), spec)
    tensors |= {f"rope_factors_{n}.weight": np.array(f, np.float32) for n, f in factors.items()}
    counts = {"block_count": 2, "rope.scaling.original_context_length": 32}
    values = {f"{kind}.{key}": value for key, value in (metadata | counts | values).items()}
    write_gguf(path, tensors, architecture=kind, values=values)
    return spec


def test_a_phi3_for_long_texts_has_its_factors_in_tensors(tmp_path: Path) -> None:
    factor = math.sqrt(1 + math.log(CONTEXT / 32) / math.log(32))  # as llama.cpp computes it
    values = {"rope.scaling.attn_factor": factor}
    spec = write_longrope(tmp_path / "m.gguf", {"short": SHORT, "long": LONG}, **values)
    checkpoint = open_checkpoint(tmp_path / "m.gguf")
    read = decoder_spec(checkpoint.config)
    assert read.rotary_scale == pytest.approx(spec.rotary_scale, rel=1e-6)
    assert replace(read, rotary_scale=spec.rotary_scale) == spec
    assert read.long_rotary is not None and read.usual_length == 32
    check_tensors(read, checkpoint.weights)


def test_a_phi3_for_long_texts_without_a_tensor_of_factors_is_refused(tmp_path: Path) -> None:
    write_longrope(tmp_path / "m.gguf", {"long": LONG})
    with pytest.raises(CheckpointError, match=r"short_factor must be 6 numbers above 0, got None"):
        decoder_spec(open_checkpoint(tmp_path / "m.gguf").config)
