"""What a plan says of an engine that sees each text once: an embedder or a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Scores = Literal["softmax", "sigmoid", "none"]


class EncoderRecord(BaseModel):
    """What stands around the network.

    width: of a row that it gives: the dimensions of a vector, the number of labels, or the
    vocabulary. has_token_types: it tells a text from its pair. labels: of a classifier. scores: how
    logits become scores. is_normalized: vectors have unit length. prompts: texts to put before a
    text, by name; default_prompt: the name of the one that is used unless another is asked for.
    lowercases: texts are made lower case before they are tokenized.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1)
    has_token_types: bool = False
    labels: tuple[str, ...] = ()
    scores: Scores = "none"
    is_normalized: bool = False
    prompts: dict[str, str] = Field(default_factory=dict)
    default_prompt: str | None = None
    lowercases: bool = False

    @classmethod
    def of_config(
        cls,
        config: Mapping[str, Any],
        *,
        width: int,
        has_token_types: bool,
        labels: tuple[str, ...] = (),
        is_normalized: bool = False,
    ) -> EncoderRecord:
        """Returns the record of a network, with what its config.json says of texts and scores.

        One label, or the problem type multi_label_classification, has scores of its own; others
        add up to 1, as in transformers' pipelines.
        """
        modules = config.get("sentence_transformers") or {}
        alone = len(labels) == 1 or config.get("problem_type") == "multi_label_classification"
        prompts = modules.get("prompts") or {}
        default = modules.get("default_prompt_name")
        return cls(
            width=width,
            has_token_types=has_token_types,
            labels=labels,
            scores="none" if not labels else "sigmoid" if alone else "softmax",
            is_normalized=is_normalized,
            prompts={str(name): str(text) for name, text in prompts.items()},
            default_prompt=None if default is None else str(default),
            lowercases=bool(modules.get("do_lower_case", False)),
        )
