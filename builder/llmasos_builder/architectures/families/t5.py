"""T5, flan-T5 and mT5 (Raffel et al., arXiv:1910.10683; Xue et al., arXiv:2010.11934)."""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import ACTIVATIONS, MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.encoder.distance_buckets import distance_buckets
from llmasos_builder.architectures.encoder_decoder.spec import (
    AttentionNames,
    EncoderDecoderNames,
    EncoderDecoderSpec,
    StackNames,
    StackSizes,
)
from llmasos_builder.checkpoint.huggingface.optional_tensors import HEAD, OPTIONAL_TENSORS
from llmasos_builder.graph import Activation

_TRAINED_FOR = 512


def t5_spec(config: Config) -> EncoderDecoderSpec:
    """Defaults are transformers' (T5Config).

    A checkpoint that says tie_word_embeddings: false (T5 1.1, flan-T5) does not scale what goes
    into the head; whether the head is the embedding is said by its tensors alone.
    """
    tied = config.flag("tie_word_embeddings", True)
    scaled = config.flag("scale_decoder_outputs", tied)
    hidden = config.size("d_model")
    return _spec(config, head_scale=hidden**-0.5 if scaled else 1.0, projection="relu")


def mt5_spec(config: Config) -> EncoderDecoderSpec:
    """Defaults are transformers' (MT5Config)."""
    config.ignore("tie_word_embeddings", "scale_decoder_outputs")
    return _spec(config, head_scale=1.0, projection="gated-gelu")


def _spec(config: Config, *, head_scale: float, projection: str) -> EncoderDecoderSpec:
    heads = config.size("num_heads", at_most=MAX_HEADS)
    layers = config.size("num_layers", at_most=MAX_LAYERS)
    inner = config.size("d_ff")
    decoder_layers = config.size("num_decoder_layers", layers, at_most=MAX_LAYERS)
    buckets = config.size("relative_attention_num_buckets", 32, at_least=4)
    farthest = config.size("relative_attention_max_distance", 128, at_least=buckets, at_most=4096)
    activation, gated = _activation(config, projection)
    config.ignore("is_gated_act", "dense_act_fn", "classifier_dropout", "output_past")
    config.ignore("initializer_factor", "n_layers", "n_heads")
    return EncoderDecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("d_model"),
        head_size=config.size("d_kv"),
        encoder=StackSizes(num_layers=layers, num_heads=heads, intermediate_size=inner),
        decoder=StackSizes(num_layers=decoder_layers, num_heads=heads, intermediate_size=inner),
        max_position_embeddings=config.size("n_positions", _TRAINED_FOR, at_least=2),
        norm="rms",
        norm_eps=config.number("layer_norm_epsilon", 1e-6),
        norm_first=True,
        has_bias=False,
        activation=activation,
        gated=gated,
        attention_scale=1.0,
        encoder_distances=distance_buckets(buckets, farthest=farthest),
        decoder_distances=distance_buckets(buckets, farthest=farthest, both_ways=False),
        head_scale=head_scale,
        tied=not config.includes(OPTIONAL_TENSORS, HEAD),
        names=_names(gated=gated),
    )


def _activation(config: Config, projection: str) -> tuple[Activation, bool]:
    """Returns the MLP's activation, and whether it is gated; gated-gelu is the approximate one."""
    said = config.text("feed_forward_proj", projection)
    gated, name = said.startswith("gated-"), said.removeprefix("gated-")
    if said == "gated-gelu":
        name = "gelu_new"
    if name not in ACTIVATIONS:
        names = ", ".join(sorted(ACTIVATIONS))
        raise config.unsupported(
            "feed_forward_proj", f"{names} are supported, also with gated- before them"
        )
    return ACTIVATIONS[name], gated


def _names(*, gated: bool) -> EncoderDecoderNames:
    return EncoderDecoderNames(
        embedding="shared",
        encoder=_stack("encoder", gated=gated, crosses=False),
        decoder=_stack("decoder", gated=gated, crosses=True),
        head="lm_head",
        copies=("encoder.embed_tokens", "decoder.embed_tokens"),
        ignored=re.compile(
            # A table that the first files have and no computation reads.
            r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
        ),
    )


def _stack(part: str, *, gated: bool, crosses: bool) -> StackNames:
    mlp = f"layer.{2 if crosses else 1}."
    inputs = ("wi_0", "wi_1") if gated else ("wi",)
    return StackNames(
        layer=part + ".block.{}.",
        attention=_attention("layer.0.", "SelfAttention"),
        cross=_attention("layer.1.", "EncDecAttention") if crosses else None,
        mlp_inputs=tuple(f"{mlp}DenseReluDense.{name}" for name in inputs),
        mlp_output=f"{mlp}DenseReluDense.wo",
        mlp_norm=f"{mlp}layer_norm",
        final_norm=f"{part}.final_layer_norm",
        distances=f"{part}.block.0.layer.0.SelfAttention.relative_attention_bias",
    )


def _attention(layer: str, name: str) -> AttentionNames:
    query, key, value, output = (f"{layer}{name}.{part}" for part in "qkvo")
    return AttentionNames(
        query=query, key=key, value=value, output=output, norm=f"{layer}layer_norm"
    )
