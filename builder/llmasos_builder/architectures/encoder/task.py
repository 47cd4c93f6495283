"""The task of an encoder, which the last part of its architecture's name says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmasos_builder.architectures.encoder.head import HeadLinear

EncoderTaskKind = Literal["embed", "classify", "classify_tokens", "fill_mask"]
TASK_OF_SUFFIX: dict[str, EncoderTaskKind] = {
    "Model": "embed",
    "ForSequenceClassification": "classify",
    "ForTokenClassification": "classify_tokens",
    "ForMaskedLM": "fill_mask",
}
"""transformers' names of classes end in these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderTask:
    """labels: of a classifier."""

    kind: EncoderTaskKind
    labels: tuple[str, ...] = ()

    def label_layer(self, name: str) -> HeadLinear:
        """Returns the last layer of a classifier."""
        return HeadLinear(name=name, size=len(self.labels), bias=f"{name}.bias")
