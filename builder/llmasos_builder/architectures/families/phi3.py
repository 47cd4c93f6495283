"""Phi-3 (Abdin et al., arXiv:2404.14219): transformers' Phi3ForCausalLM."""

from __future__ import annotations

from dataclasses import replace

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.decoder.rotary import RotaryFields
from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.architectures.decoder.window import windows_of_all_layers
from llmasos_builder.architectures.families.llama import NAMES, llama_like_spec

_NAMES = replace(NAMES, attention_inputs=("self_attn.qkv_proj",), mlp_inputs=("mlp.gate_up_proj",))
_ROTARY = RotaryFields(default_part=1.0, kinds=("default", "longrope"), default_original=4096)


def phi3_spec(config: Config) -> DecoderSpec:
    """A Llama with fused projections, whose heads may be rotated in part.

    Defaults are transformers' (Phi3Config), except for sizes, which must be given.
    """
    for field in ("attention_bias", "mlp_bias", "lm_head_bias"):
        config.must_be(field, False)
    for field in ("full_attn_mod", "interpolate_factor"):
        config.must_be(field, 1)
    return llama_like_spec(
        config,
        names=_NAMES,
        default_norm_eps=1e-5,
        rotary_fields=_ROTARY,
        windows=windows_of_all_layers(config, default=None),
    )
