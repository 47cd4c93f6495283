"""Gemma (arXiv:2403.08295), 2 (2408.00118), 3 (2503.19786): transformers' Gemma*ForCausalLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmasos_builder.architectures.config import MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.rotary import RotaryFields, rotary_frequencies
from llmasos_builder.architectures.decoder.spec import DecoderNames, DecoderSpec
from llmasos_builder.architectures.decoder.window import DEFAULT_WINDOW, layer_types, windows
from llmasos_builder.architectures.families.llama import NAMES, llama_like_spec

_HEAD_SIZE = 256
_KV_HEADS = 16  # of the first Gemma
_SHARED_KV_HEADS = 4  # of Gemma 2 and 3
_PATTERN = 6  # every sixth layer of Gemma 3 attends to everything
_SCORES = 256
_GLOBAL = RotaryFields(default_theta=1_000_000.0)
_LOCAL = RotaryFields()
_GEMMA2_NAMES = replace(
    NAMES,
    attention_output_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_output_norm="post_feedforward_layernorm",
)
_GEMMA3_NAMES = replace(_GEMMA2_NAMES, head_norms=("self_attn.q_norm", "self_attn.k_norm"))


def gemma_spec(config: Config) -> DecoderSpec:
    """A Llama that scales its embeddings and adds 1 to the weights of its norms.

    Defaults are transformers' (GemmaConfig), except for sizes, which must be given. hidden_act
    gelu means its approximation, as it does there.
    """
    config.must_be("hidden_activation", "gelu_pytorch_tanh")
    activation = config.activation("hidden_act", "gelu_pytorch_tanh")
    bias = config.flag("attention_bias", False)
    llama = llama_like_spec(
        config,
        attention_input_bias=bias,
        attention_output_bias=bias,
        default_head_size=_HEAD_SIZE,
        default_kv_heads=_KV_HEADS,
        rotary_fields=_LOCAL,
    )
    activation = "gelu_tanh" if activation == "gelu" else activation
    return replace(_scaled(config, llama), activation=activation)


def gemma2_spec(config: Config) -> DecoderSpec:
    """A Gemma with soft-capped scores and logits, and norms on the outputs of a layer's parts.

    Defaults are transformers' (Gemma2Config), except for sizes, which must be given. A cap that is
    null is none; transformers applies the cap of scores only in eager attention.
    """
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    kinds = layer_types(config, num_layers=num_layers) or _pattern(num_layers, every=2)
    return replace(
        _sandwiched(config, kinds, names=_GEMMA2_NAMES),
        attention_cap=_cap(config, "attn_logit_softcapping", 50.0),
        logit_cap=_cap(config, "final_logit_softcapping", 30.0),
    )


def gemma3_spec(config: Config) -> DecoderSpec:
    """A Gemma with norms on heads and on the outputs of a layer's parts, and two kinds of
    attention.

    Defaults are transformers' (Gemma3TextConfig), except for sizes, which must be given.
    """
    for field in ("attn_logit_softcapping", "final_logit_softcapping"):
        config.must_be(field, None)
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    every = config.size("sliding_window_pattern", _PATTERN)
    kinds = layer_types(config, num_layers=num_layers) or _pattern(num_layers, every=every)
    one_kind = config.without("rope_parameters", "rope_scaling", "rope_theta")
    spec = _sandwiched(one_kind, kinds, names=_GEMMA3_NAMES)
    frequencies = _layer_frequencies(config, kinds, head_size=spec.head_size)
    return replace(spec, layer_rotary_frequencies=frequencies)


def _sandwiched(config: Config, kinds: Sequence[str], *, names: DecoderNames) -> DecoderSpec:
    """The common part of Gemma 2 and 3: norms around each part, and two kinds of layers."""
    config.must_agree("hidden_activation", config, "hidden_act")
    config.must_agree("sliding_window", config, "sliding_window_size")
    bias = config.flag("attention_bias", False)
    slides = [kind == "sliding_attention" for kind in kinds]
    if any(slides) and config.is_null("sliding_window"):
        raise config.unsupported("sliding_window", "which layers that slide need")
    window = config.size("sliding_window", DEFAULT_WINDOW) if any(slides) else DEFAULT_WINDOW
    llama = llama_like_spec(
        config,
        names=names,
        attention_input_bias=bias,
        attention_output_bias=bias,
        default_head_size=_HEAD_SIZE,
        default_kv_heads=_SHARED_KV_HEADS,
        rotary_fields=_LOCAL,
        windows=windows(config, slides, window=window),
    )
    return replace(
        _scaled(config, llama),
        activation=config.activation("hidden_activation", "gelu_pytorch_tanh"),
        attention_scales=(config.number("query_pre_attn_scalar", _SCORES) ** -0.5,) * len(kinds),
    )


def _cap(config: Config, field: str, default: float) -> float | None:
    return None if config.is_null(field) else config.number(field, default)


def _scaled(config: Config, llama: DecoderSpec) -> DecoderSpec:
    config.must_be("use_bidirectional_attention", False)
    return replace(
        llama,
        embedding_scale=llama.hidden_size**0.5,
        norm_offset=1.0,
        tied=config.flag("tie_word_embeddings", True),
    )


def _pattern(num_layers: int, *, every: int) -> tuple[str, ...]:
    return tuple(
        "sliding_attention" if (layer + 1) % every else "full_attention"
        for layer in range(num_layers)
    )


def _layer_frequencies(
    config: Config, kinds: Sequence[str], *, head_size: int
) -> tuple[tuple[float, ...], ...]:
    """Reads parameters for each kind (transformers 5), or two bases and one kind's scaling (4)."""
    scaling = config.section("rope_scaling") or Config({})
    if scaling.has("type") and not scaling.has("rope_type"):
        # transformers 4 reads it, and 5 does not, of Gemma 3 alone.
        raise scaling.unsupported("type", "which must be called rope_type")
    sections = config.section("rope_parameters") or Config({})
    wide = config.only(
        rope_theta="rope_theta",
        rope_scaling="rope_scaling",
        max_position_embeddings="max_position_embeddings",
    ).joined(sections.only(rope_parameters="full_attention"))
    near = config.only(
        rope_theta="rope_local_base_freq", max_position_embeddings="max_position_embeddings"
    ).joined(sections.only(rope_parameters="sliding_attention"))
    frequencies = {
        "full_attention": rotary_frequencies(wide, head_size=head_size, fields=_GLOBAL),
        "sliding_attention": rotary_frequencies(near, head_size=head_size, fields=_LOCAL),
    }
    return tuple(frequencies[kind] for kind in kinds)
