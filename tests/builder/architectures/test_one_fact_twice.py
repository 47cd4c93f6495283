"""A fact that config.json gives in two places counts once where both agree, and is refused with
both values where they do not.
"""

from __future__ import annotations

from typing import Any

import pytest
from family_networks import BLOOM, FALCON, GEMMA3, GPT_NEO, GPT_NEOX, OPT, PHI3, QWEN2
from llmasos.errors import UnsupportedArchitectureError
from networks import GPT2, LLAMA, LLAMA3_ROPE
from specs import spec_of

LINEAR = {"type": "linear", "factor": 4.0}
NEWER_LINEAR = {"rope_type": "linear", "factor": 4}
LONG = {"max_position_embeddings": 512}
FACTORS = {"short_factor": [1.5] * 8, "long_factor": [3.0] * 8}


AGREEING: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (LLAMA, {"rope_scaling": LINEAR}, {"rope_parameters": NEWER_LINEAR}),
    (LLAMA, {"rope_scaling": LINEAR}, {"rope_parameters": NEWER_LINEAR | {"rope_theta": 1e4}}),
    (
        LLAMA,
        {"rope_scaling": LINEAR, "rope_theta": 500.0},
        {"rope_parameters": NEWER_LINEAR | {"rope_theta": 500.0}},
    ),
    (LLAMA, {"rope_scaling": LINEAR | NEWER_LINEAR}, {"rope_parameters": LINEAR}),
    (LLAMA, {"rope_scaling": LINEAR}, {"rope_parameters": {}}),
    (LLAMA, {"rope_parameters": NEWER_LINEAR}, {"rope_scaling": None}),
    (LLAMA, {"rope_parameters": NEWER_LINEAR}, {"rope_scaling": {}}),
    (
        LLAMA,
        {"rope_parameters": LLAMA3_ROPE},
        {"rope_scaling": {k: v for k, v in LLAMA3_ROPE.items() if k != "rope_theta"}}
        | {"rope_theta": 500.0, "original_max_position_embeddings": 32},
    ),
    (
        QWEN2,
        {"rope_scaling": {"type": "yarn", "factor": 4.0}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "partial_rotary_factor": 1.0}},
    ),
    (
        PHI3,
        LONG | {"rope_scaling": {"type": "su"} | FACTORS, "original_max_position_embeddings": 128},
        {"rope_parameters": {"rope_type": "longrope"} | FACTORS},
    ),
    (PHI3, {"partial_rotary_factor": 0.5}, {"rope_parameters": {"partial_rotary_factor": 0.5}}),
    (GPT_NEOX, {"rotary_pct": 0.5}, {"rope_parameters": {"partial_rotary_factor": 0.5}}),
    (
        GPT_NEOX,
        {"rotary_emb_base": 500, "rope_scaling": LINEAR},
        {"rope_parameters": NEWER_LINEAR | {"rope_theta": 500.0}},
    ),
    (
        GEMMA3,
        {"rope_scaling": NEWER_LINEAR, "rope_theta": 1e6, "rope_local_base_freq": 500.0},
        {
            "rope_parameters": {
                "full_attention": NEWER_LINEAR | {"rope_theta": 1e6},
                "sliding_attention": {"rope_theta": 500.0},
            }
        },
    ),
    (GPT2, {}, {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3}),
    (GPT_NEO, {}, {"num_attention_heads": 4, "num_hidden_layers": 2}),
    (BLOOM, {}, {"num_attention_heads": 4, "num_hidden_layers": 3, "n_embed": 64}),
    (FALCON, {}, {"n_embed": 64}),
    (LLAMA, {}, {"dtype": "float16", "torch_dtype": "bfloat16"}),  # of how it is stored
]


@pytest.mark.parametrize(("config", "one", "other"), AGREEING)
def test_two_places_that_agree_are_one_fact(
    config: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert spec_of(config, **one, **other) == spec_of(config, **one)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (
            LLAMA,
            {"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "linear", "factor": 8.0}},
            "rope_scaling: factor is 4.0, but factor in config.json: rope_parameters is 8.0",
        ),
        (
            LLAMA,
            {"rope_scaling": LINEAR, "rope_parameters": {"rope_theta": 1e4}},
            "rope_scaling: factor is 4.0, and config.json: rope_parameters has none",
        ),
        (
            LLAMA,
            {"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0}},
            "rope_type is 'linear', but rope_type in config.json: rope_parameters is 'dynamic'",
        ),
        (
            LLAMA,  # where transformers takes 10000, since rope_scaling has none
            {"rope_scaling": LINEAR, "rope_parameters": NEWER_LINEAR | {"rope_theta": 500.0}},
            "rope_theta is 10000.0, but rope_theta in config.json: rope_parameters is 500.0",
        ),
        (
            LLAMA,
            {"rope_scaling": {"type": "linear", "rope_type": "dynamic", "factor": 2.0}},
            "rope_type is 'dynamic', but type in config.json: rope_scaling is 'linear'",
        ),
        (
            LLAMA,
            {"rope_parameters": LLAMA3_ROPE, "original_max_position_embeddings": 64},
            "original_max_position_embeddings is 32, but original_max_position_embeddings in "
            "config.json is 64",
        ),
        (
            QWEN2,
            {
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 128,
                },
                "original_max_position_embeddings": 64,
            },
            "original_max_position_embeddings is 128, but .* in config.json is 64",
        ),
        (
            PHI3,  # whose default of 4096 counts before what is among the parameters
            LONG
            | {
                "rope_scaling": {"type": "longrope", "original_max_position_embeddings": 128}
                | FACTORS
            },
            "original_max_position_embeddings is 128, but .* in config.json is 4096",
        ),
        (GPT2, {"num_attention_heads": 2}, "n_head is 4, but num_attention_heads in config.json"),
        (GPT_NEO, {"num_attention_heads": 2}, "num_heads is 4, but num_attention_heads in .* is 2"),
        (BLOOM, {"num_hidden_layers": 2}, "n_layer is 3, but num_hidden_layers in .* is 2"),
        (FALCON, {"n_embed": 128}, "hidden_size is 64, but n_embed in config.json is 128"),
        (GPT_NEOX, {"head_dim": 32}, "head_dim is 32, only 16 is supported"),
    ],
)
def test_two_places_that_disagree_are_refused_with_both_values(
    config: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedArchitectureError, match=message) as caught:
        spec_of(config, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (
            GPT2,
            {
                "n_embd": "hidden_size",
                "n_head": "num_attention_heads",
                "n_layer": "num_hidden_layers",
                "n_positions": "max_position_embeddings",
            },
        ),
        (GPT_NEO, {"num_heads": "num_attention_heads", "num_layers": "num_hidden_layers"}),
        (BLOOM, {"n_head": "num_attention_heads", "n_layer": "num_hidden_layers"}),
    ],
)
def test_a_size_may_have_either_name_that_transformers_knows(
    config: dict[str, Any], names: dict[str, str]
) -> None:
    renamed = {names.get(name, name): value for name, value in config.items()}
    assert spec_of(renamed) == spec_of(config)


@pytest.mark.parametrize("config", [LLAMA, GPT2, OPT, BLOOM, FALCON])
def test_what_transformers_reads_of_every_config_is_refused(config: dict[str, Any]) -> None:
    for value in (False, None):  # which are one there
        with pytest.raises(UnsupportedArchitectureError, match="is_causal is"):
            spec_of(config, is_causal=value)
    assert spec_of(config, is_causal=True) == spec_of(config)
    layers = {"0": {"hidden_act": "relu"}}
    for field, setting in {"per_layer_config": layers, "default_theta": 5.0}.items():
        with pytest.raises(UnsupportedArchitectureError, match=f"{field} is"):
            spec_of(config, **{field: setting})
