"""What an answer must look like: JSON, a schema, a regular expression or a grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from llmasos.errors import InvalidRequestError

GuideKind = Literal["json", "json_schema", "regex", "ebnf_grammar", "structural_tag"]
"""The guide types of TensorRT-LLM."""
KINDS: tuple[GuideKind, ...] = get_args(GuideKind)
MAX_CHARACTERS = 1 << 20


@dataclass(frozen=True, slots=True)
class Guide:
    """A language that an answer must be in: no token can be chosen that leads out of it.

    kind: json is any JSON object, and has no text. text: a JSON schema as JSON, a regular
    expression that matches the whole answer, a grammar in GBNF (llama.cpp's) or Lark, or a
    structural tag as JSON. An answer that is whole ends; one that reaches max_tokens is cut off.

    Raises InvalidRequestError for another kind, or a text that is missing or too long.
    """

    kind: GuideKind
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidRequestError(
                f"the kind of a guide must be one of {', '.join(KINDS)}, got {self.kind!r:.60}"
            )
        _check_text(self.text)
        if self.kind != "json" and not self.text:
            raise InvalidRequestError(f"a guide of kind {self.kind} needs a text, got none")
        if len(self.text) > MAX_CHARACTERS:
            raise InvalidRequestError(
                f"a guide has {len(self.text)} characters, at most {MAX_CHARACTERS} are allowed"
            )

    @classmethod
    def json(cls) -> Guide:
        """Any JSON object."""
        return cls("json")

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str | type[Any]) -> Guide:
        """JSON that a schema describes. schema: the schema, its JSON, or a class of pydantic."""
        if isinstance(schema, type):
            schema = schema.model_json_schema()
        if isinstance(schema, str):
            return cls("json_schema", schema)
        try:
            return cls("json_schema", json.dumps(schema))
        except (TypeError, ValueError) as error:
            raise InvalidRequestError(f"a JSON schema must be plain JSON: {error}") from error

    @classmethod
    def regex(cls, pattern: str) -> Guide:
        """Text that a regular expression matches as a whole."""
        return cls("regex", pattern)

    @classmethod
    def grammar(cls, grammar: str) -> Guide:
        """Text of a context-free language. grammar: in GBNF, as llama.cpp has it, or in Lark."""
        return cls("ebnf_grammar", grammar)

    @classmethod
    def choice(cls, choices: Sequence[str]) -> Guide:
        """One of some texts."""
        if isinstance(choices, str) or not choices:
            raise InvalidRequestError(f"choices must be a list of texts, got {choices!r:.60}")
        quoted = " | ".join(json.dumps(_check_choice(choice)) for choice in choices)
        return cls("ebnf_grammar", f"start: {quoted}\n")


def _check_choice(choice: object) -> str:
    """A text to choose; raises InvalidRequestError."""
    if not isinstance(choice, str) or not choice:
        raise InvalidRequestError(f"a choice must be a text, got {choice!r:.60}")
    return choice


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InvalidRequestError(f"the text of a guide must be str, got {text!r:.60}")


def check_guide(guide: object) -> None:
    """Raises InvalidRequestError for what is neither a Guide nor None."""
    if guide is not None and not isinstance(guide, Guide):
        raise InvalidRequestError(f"guide must be a Guide, got {guide!r:.60}")
