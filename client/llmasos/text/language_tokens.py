"""The tokens that name languages to a translation model, and where they stand.

M2M100 writes __en__, NLLB eng_Latn and mBART en_XX; Marian's models for several languages write the
target's token, such as >>fra<<, before the source text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llmasos.errors import InvalidRequestError
from llmasos.text.tokenizer import Tokenizer

Target = Literal["second", "first", "source"]
"""Where the target's token is: behind the decoder's first token, in its place, or before the
source text.
"""
_FORMS: Sequence[tuple[re.Pattern[str], Target]] = (
    (re.compile(r"__([a-z]{2,3})__"), "second"),
    (re.compile(r"([a-z]{3}_[A-Z][a-z]{3})"), "second"),
    (re.compile(r"([a-z]{2,3}_[A-Z]{2})"), "second"),
    (re.compile(r">>([A-Za-z_]+)<<"), "source"),
)
_MBART = "MBartForConditionalGeneration"
_BEFORE_CLASS = "MBart50Tokenizer"
_MANY = 2
"""Fewer tokens of a form are chance."""
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageTokens:
    """Token ids by the languages' codes.

    target: where the target's token is. source_is_last: the source's token ends the source text,
    instead of beginning it.
    """

    ids: Mapping[str, int]
    target: Target
    source_is_last: bool = False

    def id_of(self, language: str, field: str) -> int:
        """Returns a language's token; raises what `code_of` does."""
        return self.ids[self.code_of(language, field)]

    def code_of(self, language: str, field: str) -> str:
        """Returns a language's code: the one that is given, or the unique one that begins with it.

        Raises InvalidRequestError for any other; field: what it is called there.
        """
        if language in self.ids:
            return language
        wanted = language.lower()
        same = [code for code in self.ids if code.lower() == wanted]
        begins = [code for code in self.ids if code.lower().split("_")[0] == wanted]
        for found in (same, begins):
            if len(found) == 1:
                return found[0]
        names = sorted(self.ids)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise InvalidRequestError(
            f"{field} must be one of the model's languages, {', '.join(names[:_SHOWN])}{more}, "
            f"got {language!r:.60}"
        )


def language_tokens(tokenizer: Tokenizer, *, architecture: str) -> LanguageTokens | None:
    """Returns the language tokens of a model; None if it has none.

    architecture: its class. mBART-25 and mBART-50 have one class, and their tokenizers two.
    """
    vocabulary = tokenizer.vocabulary
    for form, target in _FORMS:
        found = {m.group(1): i for token, i in vocabulary.items() if (m := form.fullmatch(token))}
        if len(found) < _MANY:
            continue
        if architecture == _MBART and tokenizer.class_name != _BEFORE_CLASS:
            return LanguageTokens(ids=found, target="first", source_is_last=True)
        return LanguageTokens(ids=found, target=target, source_is_last=tokenizer.is_source_last)
    return None
