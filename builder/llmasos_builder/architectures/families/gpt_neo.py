"""GPT-Neo (Black et al., 2021): transformers' GPTNeoForCausalLM."""

from __future__ import annotations

import re
from itertools import islice

from llmasos_builder.architectures.config import MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.spec import DecoderNames, DecoderSpec
from llmasos_builder.architectures.decoder.window import windows

NAMES = DecoderNames(
    embedding="transformer.wte",
    positions="transformer.wpe",
    layer="transformer.h.{}.",
    attention_norm="ln_1",
    attention_inputs=tuple(f"attn.attention.{part}_proj" for part in "qkv"),
    attention_output="attn.attention.out_proj",
    mlp_norm="ln_2",
    mlp_inputs=("mlp.c_fc",),
    mlp_output="mlp.c_proj",
    final_norm="transformer.ln_f",
    head="lm_head",
    ignored=re.compile(r"transformer\.h\.\d+\.attn\.attention\.(masked_)?bias"),
)
_DEFAULT_WINDOW = 256
_DEFAULT_TYPES = [[["global", "local"], 12]]


def gpt_neo_spec(config: Config) -> DecoderSpec:
    """A GPT-2 that attends locally in some layers, and never scales its scores.

    Defaults are transformers' (GPTNeoConfig), except for sizes, which must be given.
    """
    config = config.renamed(num_attention_heads="num_heads", num_hidden_layers="num_layers")
    hidden_size = config.size("hidden_size")
    num_heads = config.size("num_heads", at_most=MAX_HEADS)
    if hidden_size % num_heads:
        raise config.wrong("hidden_size", f"must be a multiple of num_heads {num_heads}")
    num_layers = config.size("num_layers", at_most=MAX_LAYERS)
    local = [kind == "local" for kind in _attention_types(config, num_layers)]
    return DecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.size("intermediate_size", 4 * hidden_size),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=hidden_size // num_heads,
        max_position_embeddings=config.size("max_position_embeddings"),
        norm="layer",
        norm_eps=config.number("layer_norm_epsilon", 1e-5),
        activation=config.activation("activation_function", "gelu_new"),
        gated=False,
        rotary_frequencies=None,
        attention_scales=(1.0,) * num_layers,
        attention_windows=windows(
            config, local, window=config.size("window_size", _DEFAULT_WINDOW)
        ),
        attention_input_bias=False,
        attention_output_bias=True,
        mlp_bias=True,
        tied=config.flag("tie_word_embeddings", True),
        names=NAMES,
    )


def _attention_types(config: Config, num_layers: int) -> list[str]:
    """Returns the attention of each layer: `attention_types` gives patterns and repetitions."""
    try:
        repeated = (
            str(kind)
            for pattern, times in config.items("attention_types", _DEFAULT_TYPES)
            for _ in range(min(times, num_layers + 1))
            for kind in pattern
        )
        types = list(islice(repeated, num_layers + 1))
    except (TypeError, ValueError):
        types = []
    if len(types) != num_layers or not {"global", "local"}.issuperset(types):
        expected = f"must make global or local attention of each of {num_layers} layers"
        raise config.wrong("attention_types", expected)
    if list(config.texts("attention_layers") or types) != types:
        raise config.unsupported("attention_layers", "which differs from attention_types")
    return types
