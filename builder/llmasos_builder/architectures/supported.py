"""The networks that can be compiled: one row for each architecture name in config.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmasos.errors import CheckpointError, UnsupportedArchitectureError

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.decoder.embedder import DecoderEmbedder
from llmasos_builder.architectures.decoder.network import Decoder
from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.architectures.encoder.embedding_head import MODULES, embedding_head
from llmasos_builder.architectures.encoder_decoders import FAMILIES as ENCODER_DECODERS
from llmasos_builder.architectures.encoder_decoders import (
    encoder_decoder_of,
    is_encoder_decoder,
)
from llmasos_builder.architectures.encoders import (
    FAMILIES,
    encoder_of,
    is_encoder,
)
from llmasos_builder.architectures.families.bloom import bloom_spec
from llmasos_builder.architectures.families.falcon import falcon_spec
from llmasos_builder.architectures.families.gemma import gemma2_spec, gemma3_spec, gemma_spec
from llmasos_builder.architectures.families.gpt2 import gpt2_spec
from llmasos_builder.architectures.families.gpt_neo import gpt_neo_spec
from llmasos_builder.architectures.families.gpt_neox import gpt_neox_spec
from llmasos_builder.architectures.families.llama import llama_spec
from llmasos_builder.architectures.families.mistral import mistral_spec
from llmasos_builder.architectures.families.opt import opt_spec
from llmasos_builder.architectures.families.phi3 import phi3_spec
from llmasos_builder.architectures.families.qwen import qwen2_spec, qwen3_spec
from llmasos_builder.architectures.network import Network
from llmasos_builder.architectures.notes import is_note, said


@dataclass(frozen=True, slots=True)
class Architecture:
    """A row of the table.

    model_type: its name in config.json. spec: reads the rest of config.json. examples: well-known
    models. notes: what is refused, and what limits the length.
    """

    model_type: str
    spec: Callable[[Config], DecoderSpec]
    examples: str
    notes: str


_PLAIN_ROTARY = "Rotary positions: default, linear, dynamic or llama3"
_ROTARY = "Rotary positions: every kind"
SUPPORTED: Mapping[str, Architecture] = {
    "BloomForCausalLM": Architecture(
        "bloom",
        bloom_spec,
        "BLOOM, BLOOMZ 560M to 176B",
        "ALiBi. apply_residual_connection_post_layernorm is refused.",
    ),
    "FalconForCausalLM": Architecture(
        "falcon",
        falcon_spec,
        "Falcon 7B, 40B, 180B",
        f"{_PLAIN_ROTARY}; or ALiBi (Falcon-RW). Both generations of its layers.",
    ),
    "GPT2LMHeadModel": Architecture(
        "gpt2",
        gpt2_spec,
        "GPT-2, DistilGPT2",
        "Cross-attention and pruned heads are refused.",
    ),
    "GPTNeoForCausalLM": Architecture(
        "gpt_neo",
        gpt_neo_spec,
        "GPT-Neo, TinyStories",
        "Global and local layers.",
    ),
    "GPTNeoXForCausalLM": Architecture(
        "gpt_neox",
        gpt_neox_spec,
        "Pythia, GPT-NeoX-20B",
        "Rotary positions: default or linear. Parallel and sequential residuals.",
    ),
    "GemmaForCausalLM": Architecture(
        "gemma",
        gemma_spec,
        "Gemma 2B, 7B",
        f"{_PLAIN_ROTARY}; bidirectional attention is refused.",
    ),
    "Gemma2ForCausalLM": Architecture(
        "gemma2",
        gemma2_spec,
        "Gemma 2 2B, 9B, 27B",
        f"{_PLAIN_ROTARY}; bidirectional attention is refused. On the CPU without a KV cache in u8 "
        "where attn_logit_softcapping is set.",
    ),
    "Gemma3ForCausalLM": Architecture(
        "gemma3_text",
        gemma3_spec,
        "Gemma 3 270M, 1B; of 4B, 12B, 27B the text",
        f"{_PLAIN_ROTARY}; soft caps and bidirectional attention are refused.",
    ),
    "LlamaForCausalLM": Architecture(
        "llama", llama_spec, "SmolLM2, Llama", f"{_ROTARY}, over whole heads."
    ),
    "MistralForCausalLM": Architecture(
        "mistral", mistral_spec, "Mistral 7B, Nemo, Small", f"{_ROTARY}."
    ),
    "OPTForCausalLM": Architecture(
        "opt",
        opt_spec,
        "OPT 125M to 66B",
        "Every variant: norms first or last, projected embeddings, with or without biases.",
    ),
    "Phi3ForCausalLM": Architecture(
        "phi3",
        phi3_spec,
        "Phi-3, Phi-3.5-mini, Phi-4, Phi-4-mini",
        "Rotary positions: default or longrope.",
    ),
    "Qwen2ForCausalLM": Architecture(
        "qwen2",
        qwen2_spec,
        "Qwen2, Qwen2.5",
        f"{_ROTARY}; use_mrope is refused.",
    ),
    "Qwen3ForCausalLM": Architecture(
        "qwen3",
        qwen3_spec,
        "Qwen3",
        f"{_ROTARY}.",
    ),
}


def models_table() -> str:
    """The table of the page on models."""
    rows = [f"| `{name}` | {row.examples} | {row.notes} |" for name, row in SUPPORTED.items()]
    return "\n".join(["| architecture | examples | notes |", "|---|---|---|", *rows])


def network_of(config: Mapping[str, Any]) -> Network:
    """The network that a checkpoint's config.json describes; raises as `decoder_spec` does."""
    return _network(config, Config(config))


def _network(config: Mapping[str, Any], fields: Config) -> Network:
    name = _name(config)
    if name is not None and is_encoder(name):
        return encoder_of(config, fields, name)
    if name is not None and is_encoder_decoder(name):
        return encoder_decoder_of(fields, name)
    if MODULES in config:
        fields.ignore(MODULES)
        return DecoderEmbedder.of(_spec(fields, _architecture(config)), embedding_head(fields))
    return Decoder.of(_spec(fields, _architecture(config)))


def decoder_spec(config: Mapping[str, Any]) -> Decoder:
    """The decoder that a checkpoint's config.json describes.

    Raises UnsupportedArchitectureError for an unsupported network or field value, and
    CheckpointError for a missing or wrong field; both name it.
    """
    return Decoder.of(_spec(Config(config), _architecture(config)))


def warning_of_unread_fields(config: Mapping[str, Any]) -> str | None:
    """Returns one line that names unknown fields; None if there are none.

    Raises what `decoder_spec` does.
    """
    fields = Config(config)
    _network(config, fields)
    unread = {name: config[name] for name in fields.unread() if not is_note(name)}
    return said(unread, str(config["architectures"][0])) if unread else None


def _spec(fields: Config, architecture: Architecture) -> DecoderSpec:
    fields.must_be("model_type", architecture.model_type)
    fields.must_be("quantization_config", None)
    fields.must_be("is_encoder_decoder", False)
    _check_common_fields(fields)
    try:
        return architecture.spec(fields)
    except ArithmeticError as error:
        raise CheckpointError(f"config.json: its numbers do not make sense: {error}") from error


def _check_common_fields(config: Config) -> None:
    """Checks the fields that transformers reads for every architecture."""
    config.must_be("is_causal", True)
    if config.is_null("is_causal"):  # which is as good as false there
        raise config.unsupported("is_causal", "only True is supported")
    for field in ("per_layer_config", "default_theta", "default_rope_type", "_rope_type_labels"):
        config.must_be(field, None)


def _architecture(config: Mapping[str, Any]) -> Architecture:
    name = _name(config)
    if name is not None and MODULES in config and name.endswith("Model"):
        name = f"{name.removesuffix('Model')}ForCausalLM"  # the same network without its head
    if name is not None and name in SUPPORTED:
        return SUPPORTED[name]
    if name is not None and (is_encoder(name) or is_encoder_decoder(name)):
        raise UnsupportedArchitectureError(
            f"config.json names the architecture {name!r}, which has an encoder; this is for "
            "decoders alone"
        )
    names = config.get("architectures")
    both = (family.classes[0] for family in ENCODER_DECODERS)
    known = ", ".join(sorted([*SUPPORTED, *both]) + [f"{name}…" for name in sorted(FAMILIES)])
    found = f"the architecture {names[0]!r}" if isinstance(names, list) and names else None
    raise UnsupportedArchitectureError(
        f"config.json names {found or 'no architecture'}; {known} are supported"
    )


def _name(config: Mapping[str, Any]) -> str | None:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    return name if isinstance(name, str) else None
