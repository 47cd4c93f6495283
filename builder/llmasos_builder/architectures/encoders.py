"""The encoders that can be compiled: one row for each family, with the tasks of its classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmasos.errors import CheckpointError

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.encoder.embedding_head import MODULES
from llmasos_builder.architectures.encoder.labels import labels_of
from llmasos_builder.architectures.encoder.network import Encoder
from llmasos_builder.architectures.encoder.spec import EncoderSpec
from llmasos_builder.architectures.encoder.task import TASK_OF_SUFFIX, EncoderTask
from llmasos_builder.architectures.families.bert import bert_spec, roberta_spec
from llmasos_builder.architectures.families.distilbert import distilbert_spec
from llmasos_builder.architectures.families.modernbert import modernbert_spec
from llmasos_builder.architectures.families.mpnet import mpnet_spec


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """model_type: its name in config.json. spec: reads the rest of config.json. examples:
    well-known models.
    """

    model_type: str
    spec: Callable[[Config, EncoderTask], EncoderSpec]
    examples: str
    notes: str = ""


_ABSOLUTE = "Learned positions; relative ones are refused."
FAMILIES: Mapping[str, EncoderFamily] = {
    "Bert": EncoderFamily(
        "bert", bert_spec, "BERT, MiniLM, BGE, E5, GTE, MS MARCO cross-encoders", _ABSOLUTE
    ),
    "DistilBert": EncoderFamily("distilbert", distilbert_spec, "DistilBERT, its SST-2 classifier"),
    "MPNet": EncoderFamily("mpnet", mpnet_spec, "all-mpnet-base-v2"),
    "ModernBert": EncoderFamily(
        "modernbert",
        modernbert_spec,
        "ModernBERT, GTE-ModernBERT, Nomic's modernbert-embed",
        "Global and local layers.",
    ),
    "Roberta": EncoderFamily(
        "roberta", roberta_spec, "RoBERTa, all-distilroberta-v1, twitter-roberta", _ABSOLUTE
    ),
    "XLMRoberta": EncoderFamily(
        "xlm-roberta", roberta_spec, "XLM-RoBERTa, multilingual E5, BGE-M3, bge-reranker", _ABSOLUTE
    ),
}
"""By the beginning of its classes' names."""


def is_encoder(architecture: str) -> bool:
    """True if a family has a class of this name."""
    return _family_and_task(architecture) is not None


def encoder_of(config: Mapping[str, Any], fields: Config, architecture: str) -> Encoder:
    """The encoder that config.json describes; fields: the same, to note what is read.

    Raises UnsupportedArchitectureError for an unsupported field value, and CheckpointError for a
    missing or wrong field; both name it.
    """
    found = _family_and_task(architecture)
    assert found is not None, architecture
    family, task = found
    if task.kind == "fill_mask" and config.get(MODULES) is not None:
        task = EncoderTask(kind="embed")  # its modules pool what the body says
    fields.must_be("model_type", family.model_type)
    fields.must_be("quantization_config", None)
    fields.must_be("is_encoder_decoder", False)
    fields.ignore("num_labels", MODULES)
    if task.kind in ("classify", "classify_tokens"):
        task = replace(task, labels=labels_of(config))
    try:
        spec = family.spec(fields, task)
    except ArithmeticError as error:
        raise CheckpointError(f"config.json: its numbers do not make sense: {error}") from error
    return Encoder.of(replace(spec, usual_length=_usual_length(fields, spec)))


def _usual_length(fields: Config, spec: EncoderSpec) -> int:
    """Returns what the modules say, as sentence-transformers cuts texts there."""
    modules = fields.section(MODULES)
    most = spec.max_position_embeddings
    return most if modules is None else min(most, modules.size("max_seq_length", most))


def _family_and_task(architecture: str) -> tuple[EncoderFamily, EncoderTask] | None:
    for suffix, kind in TASK_OF_SUFFIX.items():
        family = FAMILIES.get(architecture.removesuffix(suffix))
        if architecture.endswith(suffix) and family is not None:
            return family, EncoderTask(kind=kind)
    return None


def encoders_table() -> str:
    """The table of the page on models."""
    rows = [
        f"| `{name}` + `Model`, `ForSequenceClassification`, `ForTokenClassification`, "
        f"`ForMaskedLM` | {row.examples} | {row.notes} |"
        for name, row in FAMILIES.items()
    ]
    return "\n".join(["| classes | examples | notes |", "|---|---|---|", *rows])
