"""ModernBERT (Warner et al., arXiv:2412.13663): transformers' ModernBert models."""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.encoder.embedding_head import embedding_head
from llmasos_builder.architectures.encoder.head import Head, HeadLinear, HeadNorm
from llmasos_builder.architectures.encoder.spec import EncoderNames, EncoderSpec
from llmasos_builder.architectures.encoder.task import EncoderTask
from llmasos_builder.graph import Pooling

NAMES = EncoderNames(
    tokens="model.embeddings.tok_embeddings",
    embedding_norm="model.embeddings.norm",
    layer="model.layers.{}.",
    attention_inputs=("attn.Wqkv",),
    attention_output="attn.Wo",
    attention_norm="attn_norm",
    mlp_inputs="mlp.Wi",
    mlp_output="mlp.Wo",
    mlp_norm="mlp_norm",
    final_norm="model.final_norm",
    ignored=re.compile(r"head\..*|decoder\..*|classifier\..*"),
)


def modernbert_spec(config: Config, task: EncoderTask) -> EncoderSpec:
    """Defaults are transformers' (ModernBertConfig), except for sizes, which must be given."""
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    num_heads = config.size("num_attention_heads", at_most=MAX_HEADS)
    hidden_size, positions = config.size("hidden_size"), config.size("max_position_embeddings")
    head_size = hidden_size // num_heads
    is_global = _global_layers(config, num_layers)
    bases = _rotary_bases(config)
    frequencies = {
        whole: tuple(base ** (-2 * i / head_size) for i in range(head_size // 2))
        for whole, base in bases.items()
    }
    reach = config.size("local_attention", 128) // 2
    return EncoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.size("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        max_position_embeddings=positions,
        usual_length=positions,
        norm_eps=config.number("norm_eps", 1e-5),
        norm_first=True,
        first_norm=False,
        norm_bias=config.flag("norm_bias", False),
        activation=config.activation("hidden_activation", "gelu"),
        gated=True,
        linear_bias=config.flag("attention_bias", False),
        mlp_bias=config.flag("mlp_bias", False),
        layer_frequencies=tuple(frequencies[whole] for whole in is_global),
        layer_windows=tuple(None if whole else reach for whole in is_global),
        names=NAMES,
        head=_head(config, task),
    )


def _global_layers(config: Config, num_layers: int) -> list[bool]:
    """Returns whether each layer sees the whole sequence."""
    kinds = config.texts("layer_types")
    every = config.size("global_attn_every_n_layers", 3)
    if kinds is None:
        return [layer % every == 0 for layer in range(num_layers)]
    known = {"full_attention": True, "sliding_attention": False}
    if len(kinds) != num_layers or not set(kinds) <= set(known):
        raise config.wrong("layer_types", f"must name {num_layers} of {', '.join(known)}")
    return [known[kind] for kind in kinds]


def _rotary_bases(config: Config) -> dict[bool, float]:
    """Returns the base of global layers and of local ones, from either form of config.json."""
    bases = {
        True: config.number("global_rope_theta", 160_000.0),
        False: config.number("local_rope_theta", 10_000.0),
    }
    section = config.section("rope_parameters")
    for whole, name in ((True, "full_attention"), (False, "sliding_attention")):
        of_kind = None if section is None else section.section(name)
        if of_kind is not None:
            of_kind.must_be("rope_type", "default")
            bases[whole] = of_kind.number("rope_theta", bases[whole])
    return bases


def _head(config: Config, task: EncoderTask) -> Head:
    if task.kind == "embed":
        return embedding_head(config)
    width, has_bias = config.size("hidden_size"), config.flag("classifier_bias", False)
    dense = HeadLinear(
        name="head.dense",
        size=width,
        bias="head.dense.bias" if has_bias else None,
        activation=config.activation("classifier_activation", "gelu"),
    )
    norm = HeadNorm(
        name="head.norm",
        eps=config.number("norm_eps", 1e-5),
        has_bias=config.flag("norm_bias", False),
    )
    if task.kind == "fill_mask":
        return _fill_mask(config, dense, norm)
    labels = task.label_layer("classifier")
    if task.kind == "classify_tokens":
        return Head(task="classify_tokens", layers=(dense, norm, labels))
    pooling: dict[str, Pooling] = {"cls": "first", "mean": "mean"}
    name = config.text("classifier_pooling", "cls")
    if name not in pooling:
        raise config.unsupported("classifier_pooling", f"{', '.join(pooling)} are supported")
    return Head(task="classify", pooling=(pooling[name],), layers=(dense, norm, labels))


def _fill_mask(config: Config, dense: HeadLinear, norm: HeadNorm) -> Head:
    is_tied = config.flag("tie_word_embeddings", True)
    last = HeadLinear(
        name=None if is_tied else "decoder",
        size=config.size("vocab_size"),
        bias="decoder.bias" if config.flag("decoder_bias", True) else None,
    )
    copies = (("decoder.weight", "model.embeddings.tok_embeddings.weight"),) if is_tied else ()
    return Head(task="fill_mask", selects=True, layers=(dense, norm, last), copies=copies)
