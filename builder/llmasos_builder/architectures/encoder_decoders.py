"""The encoder-decoders that can be compiled: one row for each family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmasos.errors import CheckpointError

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.encoder_decoder.network import EncoderDecoder
from llmasos_builder.architectures.encoder_decoder.spec import EncoderDecoderSpec
from llmasos_builder.architectures.families.bart import (
    bart_spec,
    m2m_100_spec,
    marian_spec,
    mbart_spec,
    pegasus_spec,
)
from llmasos_builder.architectures.families.t5 import mt5_spec, t5_spec
from llmasos_builder.checkpoint.huggingface.optional_tensors import OPTIONAL_TENSORS


@dataclass(frozen=True, slots=True)
class EncoderDecoderFamily:
    """model_type: its name in config.json. spec: reads the rest of config.json. classes: the names
    of its classes. examples: well-known models.
    """

    model_type: str
    spec: Callable[[Config], EncoderDecoderSpec]
    classes: tuple[str, ...]
    examples: str
    notes: str


FAMILIES: tuple[EncoderDecoderFamily, ...] = (
    EncoderDecoderFamily(
        "bart",
        bart_spec,
        ("BartForConditionalGeneration", "BartModel"),
        "BART, DistilBART, bart-large-cnn",
        "Learned positions limit the length.",
    ),
    EncoderDecoderFamily(
        "m2m_100",
        m2m_100_spec,
        ("M2M100ForConditionalGeneration",),
        "M2M100, NLLB-200",
        "Computed positions limit the length to what config.json says.",
    ),
    EncoderDecoderFamily(
        "mbart",
        mbart_spec,
        ("MBartForConditionalGeneration",),
        "mBART-25, mBART-50",
        "Learned positions limit the length.",
    ),
    EncoderDecoderFamily(
        "marian",
        marian_spec,
        ("MarianMTModel",),
        "opus-mt: the translation models of Helsinki-NLP",
        "Separate vocabularies for source and target are refused.",
    ),
    EncoderDecoderFamily(
        "mt5",
        mt5_spec,
        ("MT5ForConditionalGeneration",),
        "mT5, mT0",
        "Relative positions.",
    ),
    EncoderDecoderFamily(
        "pegasus",
        pegasus_spec,
        ("PegasusForConditionalGeneration",),
        "PEGASUS: pegasus-xsum, pegasus-cnn_dailymail",
        "Computed positions limit the length to what config.json says.",
    ),
    EncoderDecoderFamily(
        "t5",
        t5_spec,
        ("T5ForConditionalGeneration", "T5WithLMHeadModel"),
        "T5, T5 1.1, flan-T5",
        "Relative positions; gated and plain MLPs.",
    ),
)
_BY_CLASS: Mapping[str, EncoderDecoderFamily] = {
    name: family for family in FAMILIES for name in family.classes
}


def is_encoder_decoder(architecture: str) -> bool:
    """True if a family has a class of this name."""
    return architecture in _BY_CLASS


def encoder_decoder_of(fields: Config, architecture: str) -> EncoderDecoder:
    """The encoder-decoder that config.json describes.

    Raises UnsupportedArchitectureError for an unsupported field value, and CheckpointError for a
    missing or wrong field; both name it.
    """
    family = _BY_CLASS[architecture]
    fields.must_be("model_type", family.model_type)
    fields.must_be("quantization_config", None)
    fields.must_be("is_encoder_decoder", True)
    fields.ignore(OPTIONAL_TENSORS, "is_decoder", "decoder_start_token_id", "num_hidden_layers")
    try:
        return EncoderDecoder.of(family.spec(fields))
    except ArithmeticError as error:
        raise CheckpointError(f"config.json: its numbers do not make sense: {error}") from error


def encoder_decoders_table() -> str:
    """The table of the page on models."""
    rows = [
        f"| {', '.join(f'`{name}`' for name in row.classes)} | {row.examples} | {row.notes} |"
        for row in FAMILIES
    ]
    return "\n".join(["| architecture | examples | notes |", "|---|---|---|", *rows])
