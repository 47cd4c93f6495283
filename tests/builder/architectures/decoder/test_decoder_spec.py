"""config.json becomes a spec: every field that matters is used, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
from llmasos.errors import CheckpointError, UnsupportedArchitectureError
from llmasos_builder.architectures import decoder_spec
from networks import GPT2, LINEAR_ROPE, LLAMA, LLAMA3_ROPE, gpt2, llama
from specs import refusal, spec_of
from transformers import ROPE_INIT_FUNCTIONS, LlamaConfig


def test_a_llama_without_the_newer_fields_has_transformers_defaults() -> None:
    spec = spec_of(LLAMA)
    assert (spec.num_heads, spec.num_kv_heads, spec.head_size) == (4, 4, 16)
    assert (spec.norm, spec.norm_eps, spec.activation, spec.gated) == ("rms", 1e-6, "silu", True)
    assert not (spec.tied or spec.attention_input_bias or spec.mlp_bias)
    assert spec == spec_of(LLAMA, **dict.fromkeys(["head_dim", "rope_scaling", "hidden_act"]))
    assert spec == spec_of(LLAMA, rope_theta=10000.0, attention_bias=False, pretraining_tp=1)


def test_a_gpt2_without_the_newer_fields_has_transformers_defaults() -> None:
    spec = spec_of(GPT2)
    assert (spec.num_heads, spec.num_kv_heads, spec.head_size) == (4, 4, 16)
    assert (spec.norm, spec.norm_eps, spec.intermediate_size) == ("layer", 1e-5, 256)
    assert (spec.activation, spec.gated, spec.rotary_frequencies) == ("gelu_tanh", False, None)
    assert spec.tied and spec.attention_input_bias and spec.attention_output_bias
    assert spec.attention_scales == (0.25,) * 3
    assert spec_of(GPT2, reorder_and_upcast_attn=True) == spec


def test_what_transformers_saves_is_read() -> None:
    saved = llama(head_size=96, attention_bias=True, mlp_bias=True).to_dict()
    spec = spec_of(saved, architectures=["LlamaForCausalLM"])
    assert (spec.head_size, spec.num_heads, spec.num_kv_heads) == (96, 4, 2)
    assert spec.attention_input_bias and spec.attention_output_bias and spec.mlp_bias
    saved = gpt2(scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True).to_dict()
    spec = spec_of(saved, architectures=["GPT2LMHeadModel"])
    assert spec.attention_scales == (1.0, 0.5)


@pytest.mark.parametrize(
    "rope", [{"rope_type": "default", "rope_theta": 500.0}, LINEAR_ROPE, LLAMA3_ROPE]
)
def test_rotary_frequencies_are_transformers_in_both_of_its_forms(rope: dict[str, Any]) -> None:
    spec = spec_of(LLAMA, rope_parameters=rope)
    older = {k: v for k, v in rope.items() if k not in {"rope_theta", "rope_type"}}
    older |= {"type": rope["rope_type"]}
    assert spec_of(LLAMA, rope_theta=rope["rope_theta"], rope_scaling=older) == spec
    theirs = LlamaConfig(**{**LLAMA, "rope_parameters": rope})
    if rope["rope_type"] == "default":
        expected = 500.0 ** -(np.arange(0, 16, 2) / 16)
    else:
        expected = ROPE_INIT_FUNCTIONS[rope["rope_type"]](theirs)[0].numpy()
    assert spec.rotary_frequencies is not None
    np.testing.assert_allclose(spec.rotary_frequencies, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["proportional", "axial"])
@pytest.mark.parametrize("field", ["rope_scaling", "rope_parameters"])
def test_other_rotary_kinds_are_refused_by_name(kind: str, field: str) -> None:
    message = refusal(LLAMA, **{field: {"rope_type": kind, "factor": 2.0}})
    known = "default, linear, dynamic, llama3, yarn, longrope are supported"
    assert f"{field}: rope_type is '{kind}', {known}" in message


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (LLAMA, {"hidden_act": "quick_gelu"}, "hidden_act is 'quick_gelu', .* are supported"),
        (GPT2, {"activation_function": "mish"}, "activation_function is 'mish', .* are supported"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}"),
        (LLAMA, {"model_type": "mistral"}, "model_type is 'mistral', only 'llama' is supported"),
        (LLAMA, {"rope_interleaved": True}, "rope_interleaved is True, only False"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5, only 1.0"),
        (LLAMA, {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is"),
        (LLAMA, {"rope_parameters": {"mscale": 2.0}}, "rope_parameters: mscale is 2.0, .*default"),
        (
            LLAMA,
            {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 6.0}},
            "rope_theta is 6.0, but beside it rope_theta is 5.0",
        ),
        (
            LLAMA,
            {"rope_scaling": {"factor": 2.0}, "rope_parameters": {"rope_theta": 6.0}},
            "rope_scaling: factor is 2.0, and config.json: rope_parameters has none",
        ),
        (GPT2, {"add_cross_attention": True}, "add_cross_attention is True, only False"),
        (GPT2, {"pruned_heads": {"0": [1]}}, "pruned_heads is {'0': .1.}"),
        (GPT2, {"is_encoder_decoder": True}, "is_encoder_decoder is True, only False"),
    ],
)
def test_what_would_change_the_computation_is_refused(
    config: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedArchitectureError, match=message):
        spec_of(config, **changes)


@pytest.mark.parametrize("config", [LLAMA, GPT2])
def test_a_missing_size_is_named(config: dict[str, Any]) -> None:
    for field in config.keys() - {"architectures", "model_type"}:
        assert refusal(config, **{field: None}) == f"config.json has no {field}"


@pytest.mark.parametrize("value", [0, -1, 2.5, "64", True, [64], 1 << 40])
def test_a_size_that_is_none_is_named(value: object) -> None:
    for config in (LLAMA, GPT2):
        for field in config.keys() - {"architectures", "model_type"}:
            assert f"config.json: {field} must be an integer" in refusal(config, **{field: value})


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (LLAMA, {"rms_norm_eps": 0}, "rms_norm_eps must be a number above 0, got 0"),
        (LLAMA, {"rms_norm_eps": float("nan")}, "rms_norm_eps must be a number above 0, got nan"),
        (LLAMA, {"rope_theta": "1e4"}, "rope_theta must be a number above 0, got '1e4'"),
        (LLAMA, {"attention_bias": "no"}, "attention_bias must be true or false, got 'no'"),
        (LLAMA, {"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false, got 1"),
        (LLAMA, {"hidden_act": 3}, "hidden_act must be a string, got 3"),
        (LLAMA, {"rope_scaling": "linear"}, "rope_scaling must be an object, got 'linear'"),
        (LLAMA, {"rope_scaling": {"type": "linear"}}, "rope_scaling has no factor"),
        (
            LLAMA,
            {"rope_parameters": {**LLAMA3_ROPE, "low_freq_factor": 4.0}},
            "high_freq_factor must be above low_freq_factor 4.0, got 4.0",
        ),
        (LLAMA, {"hidden_size": 66}, "hidden_size must be a multiple of .* 4, got 66"),
        (LLAMA, {"num_key_value_heads": 3}, "4 attention heads cannot share 3 key and value"),
        (LLAMA, {"num_key_value_heads": 8}, "num_key_value_heads must be .* 1 to 4, got 8"),
        (LLAMA, {"head_dim": 15}, "heads of 15 elements cannot be rotated"),
        (GPT2, {"n_head": 5}, "n_embd must be a multiple of n_head 5, got 64"),
    ],
)
def test_a_wrong_field_is_named(
    config: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        spec_of(config, **changes)


@pytest.mark.parametrize("names", [["OddForCausalLM"], ["LlamaModel"], [], None, "x", [3]])
def test_another_architecture_is_refused_with_the_supported_ones(names: object) -> None:
    with pytest.raises(UnsupportedArchitectureError, match=r"GPT2LMHeadModel, .*LlamaFor"):
        decoder_spec({**LLAMA, "architectures": names})
    assert "'OddForCausalLM'" in refusal(LLAMA, architectures=["OddForCausalLM"])


def test_a_spec_checks_itself() -> None:
    with pytest.raises(CheckpointError, match=r"heads of 12 elements .* in 8 pairs"):
        replace(spec_of(LLAMA), head_size=12)
