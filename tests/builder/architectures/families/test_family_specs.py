"""What each architecture of the wider family reads of config.json, and what it refuses."""

from __future__ import annotations

from typing import Any

import needs_torch  # noqa: F401
import pytest
import torch
from family_networks import (
    BLOOM,
    CONFIGS,
    FALCON,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GPT_NEO,
    GPT_NEOX,
    MISTRAL,
    OPT,
    PHI3,
    QWEN2,
    QWEN3,
    gpt_neox,
    opt,
)
from llmasos.errors import CheckpointError, UnsupportedArchitectureError
from llmasos_builder.architectures.families.bloom import alibi_slopes
from llmasos_builder.architectures.tensors import required_tensors
from specs import refusal, spec_of
from transformers import FalconConfig
from transformers.models.bloom.modeling_bloom import _get_alibi_slopes


@pytest.mark.parametrize("name", CONFIGS)
def test_every_size_is_needed_and_named(name: str) -> None:
    config = CONFIGS[name]
    sizes = {field for field, value in config.items() if isinstance(value, int)}
    for field in sorted(sizes - {"num_key_value_heads"}):
        assert refusal(config, **{field: None}) == f"config.json has no {field}"
        assert f"config.json: {field} must be an integer" in refusal(config, **{field: 2.5})


@pytest.mark.parametrize("name", CONFIGS)
def test_absurd_sizes_take_no_memory(name: str) -> None:
    sizes = {field: 1 << 24 for field, value in CONFIGS[name].items() if isinstance(value, int)}
    counts = dict.fromkeys(("num_attention_heads", "num_heads", "n_head"), 1 << 12)
    counts |= dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer"), 2)
    counts |= dict.fromkeys({"num_key_value_heads"} & sizes.keys(), 1 << 10)
    assert required_tensors(spec_of(CONFIGS[name], **sizes | counts))


def test_an_opt_has_transformers_defaults() -> None:
    spec = spec_of(OPT)
    assert (spec.norm, spec.norm_eps, spec.norm_affine) == ("layer", 1e-5, True)
    assert (spec.activation, spec.gated, spec.residual) == ("relu", False, "norm_first")
    assert spec.position_offset == 2 and spec.tied
    assert spec.attention_input_bias and spec.attention_output_bias and spec.mlp_bias
    assert spec == spec_of(OPT, word_embed_proj_dim=64, _remove_final_layer_norm=False)
    assert spec == spec_of(opt(hidden_size=64).to_dict() | OPT)


def test_an_opts_tensors_are_those_that_its_config_asks_for() -> None:
    tensors = required_tensors(spec_of(OPT))
    assert tensors["model.decoder.embed_positions.weight"] == (130, 64)
    assert tensors["model.decoder.final_layer_norm.bias"] == (64,)
    projected = required_tensors(
        spec_of(OPT, word_embed_proj_dim=24, do_layer_norm_before=False, enable_bias=False)
    )
    assert projected["model.decoder.embed_tokens.weight"] == (100, 24)
    assert projected["model.decoder.project_in.weight"] == (64, 24)
    assert projected["model.decoder.project_out.weight"] == (24, 64)
    gone = tensors.keys() - projected.keys()
    assert gone == {
        *(f"model.decoder.final_layer_norm.{p}" for p in ("weight", "bias")),
        *(f"model.decoder.layers.{n}.fc{i}.bias" for n in range(3) for i in (1, 2)),
        *(
            f"model.decoder.layers.{n}.self_attn.{p}_proj.bias"
            for n in range(3)
            for p in ("q", "k", "v", "out")
        ),
    }


def test_a_qwen2_is_a_llama_with_biases_on_the_way_in() -> None:
    spec = spec_of(QWEN2)
    assert (spec.attention_input_bias, spec.attention_output_bias) == (True, False)
    assert (spec.head_size, spec.num_kv_heads, spec.norm_eps, spec.tied) == (16, 4, 1e-6, False)
    assert spec == spec_of(QWEN2, use_sliding_window=False, sliding_window=64, use_mrope=False)
    assert spec == spec_of(QWEN2, attention_bias=False, layer_types=["full_attention"] * 3)


def test_a_qwen3_normalizes_its_heads() -> None:
    spec = spec_of(QWEN3)
    assert spec.head_size == 128 and not spec.attention_input_bias
    tensors = required_tensors(spec)
    for norm in ("q_norm", "k_norm"):
        assert tensors[f"model.layers.2.self_attn.{norm}.weight"] == (128,)
    biased = spec_of(QWEN3, attention_bias=True)
    assert biased.attention_input_bias and biased.attention_output_bias and not biased.mlp_bias


QWEN_WINDOW = {"sliding_window": 100, "use_sliding_window": True}


@pytest.mark.parametrize(
    ("config", "changes", "windows"),
    [
        (MISTRAL, {}, None),  # transformers' default of 4096 is longer
        (MISTRAL, {"max_position_embeddings": 8192}, (4096,) * 3),
        (MISTRAL, {"max_position_embeddings": 8192, "sliding_window": None}, None),
        (MISTRAL, {"sliding_window": 128}, None),
        (MISTRAL, {"sliding_window": 100}, (100,) * 3),
        (PHI3, {"max_position_embeddings": 8192}, None),
        (PHI3, {"sliding_window": None}, None),
        (PHI3, {"sliding_window": 100}, (100,) * 3),
        (QWEN2, {"sliding_window": 100}, None),
        (QWEN2, QWEN_WINDOW, None),
        (QWEN2, QWEN_WINDOW | {"max_window_layers": 3}, None),
        (QWEN2, QWEN_WINDOW | {"max_window_layers": 2}, (None, None, 100)),
        (QWEN3, QWEN_WINDOW | {"max_window_layers": 0}, (100,) * 3),
        (
            QWEN3,
            QWEN_WINDOW
            | {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
            (None, 100, None),
        ),
        (
            QWEN3,
            QWEN_WINDOW | {"max_window_layers": 0, "layer_types": ["full_attention"] * 3},
            None,
        ),
        (GEMMA2, {"sliding_window": 100}, (100, None, 100)),
        (GEMMA2, {}, None),
        (GEMMA2, {"sliding_window": 100, "layer_types": ["full_attention"] * 3}, None),
        (GEMMA3, {"sliding_window": 100}, (100,) * 3),
        (GEMMA3, {"sliding_window": 100, "sliding_window_pattern": 3}, (100, 100, None)),
    ],
)
def test_each_layer_has_its_window(
    config: dict[str, Any], changes: dict[str, Any], windows: tuple[int | None, ...] | None
) -> None:
    spec = spec_of(config, **changes)
    assert spec.attention_windows == windows
    assert spec.max_position_embeddings == changes.get("max_position_embeddings", 128)


@pytest.mark.parametrize(
    ("config", "default"),
    [(MISTRAL, 8), (QWEN2, 32), (QWEN3, 32), (GEMMA, 16), (GEMMA2, 4), (GEMMA3, 4), (PHI3, None)],
)
def test_missing_heads_of_keys_are_transformers_default(
    config: dict[str, Any], default: int | None
) -> None:
    without = {name: value for name, value in config.items() if name != "num_key_value_heads"}
    many = {"hidden_size": 512, "num_attention_heads": 32}
    assert spec_of(without, **many).num_kv_heads == (default or 32)
    assert spec_of(config, **many, num_key_value_heads=None).num_kv_heads == 32
    if default is not None and default > 4:
        assert refusal(without) == "config.json has no num_key_value_heads"


def test_a_window_that_is_null_is_none_for_a_qwen_and_wrong_for_a_gemma() -> None:
    long = {"max_position_embeddings": 8192}
    used = {"use_sliding_window": True, "max_window_layers": 0}
    assert spec_of(QWEN2, **long, **used).attention_windows == (4096,) * 3
    assert spec_of(QWEN2, **long, **used, sliding_window=None).attention_windows is None
    sliding = {"layer_types": ["sliding_attention"] * 3, "sliding_window": None}
    assert "sliding_window is None, though layer_types" in refusal(QWEN3, **used, **sliding)
    for config in (GEMMA2, GEMMA3):
        assert "sliding_window is None, which layers" in refusal(config, sliding_window=None)
        wide = ["full_attention"] * 3
        assert spec_of(config, sliding_window=None, layer_types=wide).attention_windows is None


def test_a_gemma2_bounds_scores_and_logits() -> None:
    spec = spec_of(GEMMA2)
    assert (spec.attention_cap, spec.logit_cap) == (50.0, 30.0)
    assert spec.attention_scales == (256**-0.5,) * 3
    free = spec_of(GEMMA2, attn_logit_softcapping=None, final_logit_softcapping=None)
    assert (free.attention_cap, free.logit_cap) == (None, None)
    assert spec.norm_offset == 1 and spec.embedding_scale == 8 and spec.tied
    assert "attn_logit_softcapping must be" in refusal(GEMMA2, attn_logit_softcapping=0)


def test_a_falcon_may_have_slopes_in_place_of_rotary_positions() -> None:
    spec = spec_of(FALCON, alibi=True, num_attention_heads=8, hidden_size=128)
    assert spec.rotary_frequencies is None
    assert spec.attention_slopes == tuple(2.0**-head / 4 for head in range(1, 9))
    many = spec_of(FALCON, alibi=True, num_attention_heads=32, hidden_size=512)
    assert (many.attention_slopes or ())[0] == 0.83984375 / 4  # 2^-1/4 in bf16


def test_a_bloom_has_transformers_defaults() -> None:
    spec = spec_of(BLOOM)
    assert (spec.norm, spec.norm_eps, spec.activation) == ("layer", 1e-5, "gelu_tanh")
    assert (spec.intermediate_size, spec.max_position_embeddings) == (256, 2048)
    assert spec.tied and spec.attention_slopes == (0.25, 0.0625, 0.015625, 0.00390625)
    older = {"n_embed": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    sizes = dict.fromkeys(("hidden_size", "n_layer", "n_head"))
    assert spec == spec_of(BLOOM, **sizes, **older)
    assert spec_of(BLOOM, seq_length=512).max_position_embeddings == 512
    post = "apply_residual_connection_post_layernorm"
    assert f"config.json: {post} is True" in refusal(BLOOM, **{post: True})
    assert "hidden_size does not make 3 heads" in refusal(BLOOM, n_head=3)


@pytest.mark.parametrize("heads", [1, 2, 5, 8, 12, 16, 112])
def test_slopes_are_those_of_transformers(heads: int) -> None:
    expected = _get_alibi_slopes(heads, torch.device("cpu")).tolist()
    assert alibi_slopes(heads) == pytest.approx(expected, rel=1e-6)


def test_a_phi3_may_rotate_a_part_of_its_heads() -> None:
    spec = spec_of(PHI3)
    assert (spec.norm_eps, len(spec.rotary_frequencies or ())) == (1e-5, 8)
    part = spec_of(PHI3, partial_rotary_factor=0.75)
    expected = [10000.0 ** -(i / 12) for i in range(0, 12, 2)]
    assert part.rotary_frequencies == pytest.approx(expected, rel=1e-12)
    within = {"rope_theta": 10000.0, "partial_rotary_factor": 0.75, "rope_type": "default"}
    assert part == spec_of(PHI3, rope_parameters=within)
    assert part == spec_of(PHI3, rope_parameters=within, partial_rotary_factor=0.75)


def test_a_gpt_neox_has_transformers_defaults() -> None:
    spec = spec_of(GPT_NEOX)
    assert (spec.norm, spec.norm_eps, spec.activation) == ("layer", 1e-5, "gelu")
    assert (spec.residual, spec.gated, spec.tied) == ("parallel", False, False)
    assert spec.attention_input_bias and spec.attention_output_bias and spec.mlp_bias
    assert spec.rotary_frequencies == (1.0, 0.01)
    assert spec == spec_of(GPT_NEOX, rotary_pct=0.25, rotary_emb_base=10000)
    assert spec == spec_of(gpt_neox(layer_norm_eps=1e-5).to_dict() | GPT_NEOX)
    assert spec_of(GPT_NEOX, use_parallel_residual=False).residual == "norm_first"


def test_a_gpt_neo_has_transformers_defaults() -> None:
    spec = spec_of(GPT_NEO)
    assert (spec.norm, spec.norm_eps, spec.activation) == ("layer", 1e-5, "gelu_tanh")
    assert (spec.intermediate_size, spec.attention_scales) == (256, (1.0, 1.0))
    assert not spec.attention_input_bias
    assert spec.attention_output_bias and spec.mlp_bias and spec.tied
    twelve = spec_of(GPT_NEO, attention_types=None, num_layers=24)
    assert twelve.attention_windows == (None, 256) * 12


def test_a_gpt_neo_attends_locally_in_some_layers() -> None:
    layers = ["global", "local"]
    spec = spec_of(GPT_NEO, attention_layers=layers)
    assert spec == spec_of(GPT_NEO, attention_types=[[["global"], 1], [["local"], 1]])
    assert spec.attention_windows == (None, 256)
    assert required_tensors(spec)["transformer.wpe.weight"] == (512, 64)
    whole = spec_of(GPT_NEO, attention_types=[[["global"], 2]])
    assert whole.attention_windows is None and whole.max_position_embeddings == 512
    assert required_tensors(whole) == required_tensors(spec)


def test_a_falcon_has_transformers_defaults() -> None:
    spec = spec_of(FALCON)
    assert (spec.norm, spec.norm_eps, spec.activation) == ("layer", 1e-5, "gelu")
    assert (spec.num_kv_heads, spec.intermediate_size, spec.residual) == (1, 256, "parallel")
    assert spec.max_position_embeddings == 2048 and spec.tied
    assert not (spec.attention_input_bias or spec.attention_output_bias or spec.mlp_bias)
    assert spec == spec_of(FALCON, num_kv_heads=4, num_ln_in_parallel_attn=1, alibi=False)
    assert spec == spec_of(FalconConfig(ffn_hidden_size=256).to_dict() | FALCON)


@pytest.mark.parametrize(
    ("changes", "num_kv_heads", "norms"),
    [
        ({}, 1, {"input_layernorm"}),
        ({"multi_query": False}, 4, {"input_layernorm"}),
        ({"parallel_attn": False}, 1, {"input_layernorm", "post_attention_layernorm"}),
        ({"new_decoder_architecture": True, "num_kv_heads": 2}, 2, {"ln_attn", "ln_mlp"}),
        (
            {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1},
            4,
            {"input_layernorm"},
        ),
    ],
)
def test_a_falcon_is_of_one_of_its_generations(
    changes: dict[str, Any], num_kv_heads: int, norms: set[str]
) -> None:
    spec = spec_of(FALCON, **changes)
    tensors = required_tensors(spec)
    rows = (4 + 2 * num_kv_heads) * 16
    assert tensors["transformer.h.2.self_attention.query_key_value.weight"] == (rows, 64)
    found = {name.split(".")[3] for name in tensors if name.startswith("transformer.h.2.")}
    assert found == norms | {"self_attention", "mlp"}


def test_a_gemma_has_transformers_defaults() -> None:
    spec = spec_of(GEMMA)
    assert (spec.norm, spec.norm_offset, spec.embedding_scale) == ("rms", 1.0, 8.0)
    assert (spec.activation, spec.gated, spec.head_size, spec.tied) == (
        "gelu_tanh",
        True,
        256,
        True,
    )
    assert spec == spec_of(GEMMA, hidden_act="gelu", hidden_activation="gelu_pytorch_tanh")
    assert spec_of(GEMMA, hidden_act="silu").activation == "silu"


def test_a_gemma3s_layers_are_of_two_kinds() -> None:
    spec = spec_of(GEMMA3, num_hidden_layers=7)
    local, wide = (theta ** -(2 / 256) for theta in (10_000.0, 1_000_000.0))
    second = [layer[1] for layer in spec.layer_rotary_frequencies or ()]
    assert second == pytest.approx([*[local] * 5, wide, local], rel=1e-12)
    assert spec.attention_scales == (256**-0.5,) * 7
    assert spec == spec_of(GEMMA3, num_hidden_layers=7, sliding_window_pattern=6)
    kinds = ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    assert spec == spec_of(GEMMA3, num_hidden_layers=7, layer_types=kinds)
    bases = {"rope_theta": 1e6, "rope_local_base_freq": 1e4}
    assert spec == spec_of(GEMMA3, num_hidden_layers=7, **bases)


def test_a_gemma3_scales_the_positions_of_its_wide_layers_alone() -> None:
    linear = {"rope_type": "linear", "factor": 8.0}
    kinds = {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}
    older = spec_of(GEMMA3, rope_scaling=linear, **kinds)
    newer = {"full_attention": linear | {"rope_theta": 1e6}, "sliding_attention": {}}
    assert older == spec_of(GEMMA3, rope_parameters=newer, **kinds)
    plain = spec_of(GEMMA3, **kinds).layer_rotary_frequencies
    scaled = older.layer_rotary_frequencies
    assert plain is not None and scaled is not None
    assert scaled[0] == plain[0]
    assert scaled[1] == pytest.approx([f / 8 for f in plain[1]])


@pytest.mark.parametrize("types", [3, [3], [["global"]], [[["global"], "2"]], [[["odd"], 2]], []])
def test_attention_types_that_are_none_are_named(types: object) -> None:
    assert "config.json: attention_types must" in refusal(GPT_NEO, attention_types=types)
    for times in (1, 3, 1 << 60):
        assert "of each of 2 layers" in refusal(GPT_NEO, attention_types=[[["local"], times]])


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (
            GPT_NEO,
            {"attention_layers": ["global", "global"]},
            "attention_layers is .* which differs from attention_types",
        ),
        (FALCON, {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn is 2, only 1"),
        (
            FALCON,
            {"new_decoder_architecture": True, "parallel_attn": False},
            "parallel_attn is False, only True with new_decoder_architecture is supported",
        ),
        (
            FALCON,
            {"multi_query": False, "num_kv_heads": 2},
            "num_kv_heads is 2, only 4 without multi_query is supported",
        ),
        (
            BLOOM,
            {"slow_but_exact": True, "pretraining_tp": 2},
            "slow_but_exact is True, only False is supported",
        ),
        (
            GEMMA3,
            {"rope_scaling": {"type": "linear", "factor": 8.0}},
            "rope_scaling: type is 'linear', which must be called rope_type",
        ),
        (GEMMA, {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        (GEMMA, {"hidden_activation": "relu"}, "hidden_activation is 'relu', only"),
        (GEMMA3, {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0, only None"),
        (GEMMA3, {"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0, only None"),
        (
            GEMMA3,
            {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}, "rope_theta": 5.0},
            "rope_theta is 1000000.0, but beside it rope_theta is 5.0",
        ),
        (
            GEMMA3,
            {"rope_parameters": {"sliding_attention": {"rope_type": "yarn"}}},
            "rope_type is 'yarn', .* are supported",
        ),
        (OPT, {"activation_function": "mish"}, "activation_function is 'mish', .* are supported"),
        (OPT, {"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}"),
        (QWEN2, {"use_mrope": True}, "use_mrope is True, only False"),
        (QWEN2, {"rope_scaling": {"type": "mrope"}}, "type is 'mrope', .* are supported"),
        (QWEN2, {"layer_types": ["chunked_attention"] * 3}, "layer_types is .* is supported"),
        (QWEN3, {"layer_types": ["full_attention"] * 2}, "layer_types is .* each of 3 layers"),
        (QWEN3, {"layer_types": ["sliding_attention"] * 3}, "though use_sliding_window is not"),
        (MISTRAL, {"rope_scaling": {"type": "ntk"}}, "type is 'ntk', .* are supported"),
        (PHI3, {"rope_scaling": {"type": "linear"}}, "'linear', default, longrope are supported"),
        (PHI3, {"lm_head_bias": True}, "lm_head_bias is True, only False"),
        (
            PHI3,
            {"partial_rotary_factor": 0.5, "rope_parameters": {"partial_rotary_factor": 0.75}},
            "partial_rotary_factor is 0.75, but beside it partial_rotary_factor is 0.5",
        ),
        (GPT_NEOX, {"rope_theta": 500.0}, "rope_theta is 500.0, only 10000.0 is supported"),
        (GPT_NEOX, {"partial_rotary_factor": 0.5}, "factor is 0.5, only 0.25 is supported"),
        (GPT_NEOX, {"rope_scaling": {"type": "llama3"}}, "'llama3', default, linear are"),
        (GPT_NEOX, {"hidden_act": "mish"}, "hidden_act is 'mish', .* are supported"),
    ],
)
def test_what_would_change_the_computation_is_refused(
    config: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedArchitectureError, match=message):
        spec_of(config, **changes)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (OPT, {"num_attention_heads": 5}, "hidden_size must be a multiple of .* 5, got 64"),
        (FALCON, {"num_attention_heads": 5}, "hidden_size does not make 5 heads, got 64"),
        (OPT, {"enable_bias": "no"}, "enable_bias must be true or false, got 'no'"),
        (OPT, {"do_layer_norm_before": 1}, "do_layer_norm_before must be true or false, got 1"),
        (OPT, {"word_embed_proj_dim": 0}, "word_embed_proj_dim must be an integer"),
        (QWEN2, {"layer_types": "full_attention"}, "layer_types must be a list of strings"),
        (QWEN2, {"max_window_layers": -1}, "max_window_layers must be an integer from 0"),
        (QWEN3, {"attention_bias": "no"}, "attention_bias must be true or false"),
        (MISTRAL, {"sliding_window": 0}, "sliding_window must be an integer from 1"),
        (MISTRAL, {"num_attention_heads": 5}, "hidden_size must be a multiple of .* 5, got 64"),
        (PHI3, {"partial_rotary_factor": 1.5}, "heads of 16 elements cannot be rotated in 24"),
        (PHI3, {"partial_rotary_factor": 0.2}, "heads of 16 elements cannot be rotated in 3"),
        (GPT_NEOX, {"num_attention_heads": 5}, "hidden_size must be a multiple of .* 5, got 64"),
        (GPT_NEOX, {"hidden_size": 1 << 20}, "makes heads of 262144 elements, at most 65536"),
        (GPT_NEOX, {"rotary_pct": 0.01}, "heads of 16 elements cannot be rotated in 0"),
    ],
)
def test_a_wrong_field_is_named(
    config: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        spec_of(config, **changes)
