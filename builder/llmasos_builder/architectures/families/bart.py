"""BART and its descendants in transformers: mBART, Marian, M2M100 (NLLB) and Pegasus.

They differ in where norms stand, in their positions and in the scale of embeddings (Lewis et al.,
arXiv:1910.13461; Liu et al., arXiv:2001.08210; Junczys-Dowmunt et al., arXiv:1804.00344; Fan et
al., arXiv:2010.11125; Zhang et al., arXiv:1912.08777).
"""

from __future__ import annotations

import math
import re
from typing import Literal

from llmasos_builder.architectures.config import MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.encoder_decoder.sinusoids import (
    paper_positions,
    tensor2tensor_positions,
)
from llmasos_builder.architectures.encoder_decoder.spec import (
    AttentionNames,
    EncoderDecoderNames,
    EncoderDecoderSpec,
    StackNames,
    StackSizes,
)
from llmasos_builder.checkpoint.huggingface.optional_tensors import HEAD_BIAS, OPTIONAL_TENSORS
from llmasos_builder.graph import Array

_Positions = Literal["learned", "marian", "m2m_100"]
_OFFSET = 2
_EPS = 1e-5  # torch's default, which no config.json changes
# Fields of early files that name what their class does anyway.
_NAMED = (
    "add_bias_logits",
    "add_final_layer_norm",
    "classif_dropout",
    "classifier_dropout",
    "decoder_vocab_size",
    "extra_pos_embeddings",
    "normalize_before",
    "normalize_embedding",
    "num_hidden_layers",
    "num_labels",
    "static_position_embeddings",
    "tokenizer_class",
)


def bart_spec(config: Config) -> EncoderDecoderSpec:
    """Defaults are transformers' (BartConfig), except for sizes, which must be given."""
    return _spec(config, positions="learned", norm_first=False, embedding_norm=True)


def mbart_spec(config: Config) -> EncoderDecoderSpec:
    """Defaults are transformers' (MBartConfig)."""
    return _spec(config, positions="learned", norm_first=True, embedding_norm=True)


def marian_spec(config: Config) -> EncoderDecoderSpec:
    """Defaults are transformers' (MarianConfig)."""
    config.must_be("share_encoder_decoder_embeddings", True)
    return _spec(config, positions="marian", norm_first=False)


def m2m_100_spec(config: Config) -> EncoderDecoderSpec:
    """Defaults are transformers' (M2M100Config)."""
    return _spec(
        config, positions="m2m_100", norm_first=True, activation="relu", scale_embedding=True
    )


def pegasus_spec(config: Config) -> EncoderDecoderSpec:
    """Defaults are transformers' (PegasusConfig)."""
    return _spec(config, positions="marian", norm_first=True)


def _spec(
    config: Config,
    *,
    positions: _Positions,
    norm_first: bool,
    embedding_norm: bool = False,
    activation: str = "gelu",
    scale_embedding: bool = False,
) -> EncoderDecoderSpec:
    config.must_be("tie_word_embeddings", True)
    config.ignore(*_NAMED)
    hidden = config.size("d_model")
    length = config.size("max_position_embeddings", 1024, at_least=2)
    encoder, decoder = (_sizes(config, part, hidden) for part in ("encoder", "decoder"))
    if encoder.num_heads != decoder.num_heads:
        raise config.unsupported(
            "encoder_attention_heads",
            f"only that of decoder_attention_heads, {decoder.num_heads}, is supported",
        )
    scaled = config.flag("scale_embedding", scale_embedding)
    return EncoderDecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden,
        head_size=hidden // decoder.num_heads,
        encoder=encoder,
        decoder=decoder,
        max_position_embeddings=length,
        embedding_scale=math.sqrt(hidden) if scaled else 1.0,
        position_offset=_OFFSET,
        sinusoids=_sinusoids(positions, length, hidden),
        norm="layer",
        norm_eps=_EPS,
        norm_first=norm_first,
        has_bias=True,
        activation=config.activation("activation_function", activation),
        attention_scale=(hidden // decoder.num_heads) ** -0.5,
        tied=True,
        names=_names(config, positions, norm_first, embedding_norm),
    )


def _names(
    config: Config, positions: _Positions, norm_first: bool, embedding_norm: bool
) -> EncoderDecoderNames:
    has_bias = config.includes(OPTIONAL_TENSORS, HEAD_BIAS)
    computed = r"model\.(en|de)coder\.embed_positions\.weights?"  # which some files hold
    return EncoderDecoderNames(
        embedding="model.shared",
        encoder=_stack("encoder", positions, norm_first, embedding_norm),
        decoder=_stack("decoder", positions, norm_first, embedding_norm),
        head="lm_head",
        head_bias=HEAD_BIAS if has_bias else None,
        copies=("model.encoder.embed_tokens", "model.decoder.embed_tokens"),
        ignored=re.compile("model.version" if positions == "learned" else computed),
    )


def _sinusoids(positions: _Positions, length: int, width: int) -> Array | None:
    match positions:
        case "learned":
            return None
        case "marian":
            return paper_positions(length, width)
        case "m2m_100":
            return tensor2tensor_positions(length, width, offset=_OFFSET)


def _sizes(config: Config, part: str, hidden: int) -> StackSizes:
    heads = config.size(f"{part}_attention_heads", at_most=MAX_HEADS)
    if hidden % heads:
        raise config.wrong(f"{part}_attention_heads", f"must divide d_model, which is {hidden}")
    if hidden % 2:
        raise config.wrong("d_model", "must be even")
    return StackSizes(
        num_layers=config.size(f"{part}_layers", at_most=MAX_LAYERS),
        num_heads=heads,
        intermediate_size=config.size(f"{part}_ffn_dim"),
    )


def _stack(part: str, positions: _Positions, norm_first: bool, embedding_norm: bool) -> StackNames:
    prefix = f"model.{part}."
    return StackNames(
        positions=f"{prefix}embed_positions" if positions == "learned" else None,
        embedding_norm=f"{prefix}layernorm_embedding" if embedding_norm else None,
        layer=prefix + "layers.{}.",
        attention=_attention("self_attn"),
        cross=_attention("encoder_attn") if part == "decoder" else None,
        mlp_inputs=("fc1",),
        mlp_output="fc2",
        mlp_norm="final_layer_norm",
        final_norm=f"{prefix}layer_norm" if norm_first else None,
    )


def _attention(name: str) -> AttentionNames:
    query, key, value, output = (
        f"{name}.{part}" for part in ("q_proj", "k_proj", "v_proj", "out_proj")
    )
    return AttentionNames(
        query=query, key=key, value=value, output=output, norm=f"{name}_layer_norm"
    )
