"""From a text and what is asked of it to the tokens of an encoder and of its decoder."""

from __future__ import annotations

import re
from typing import NamedTuple

from llmasos.engine.encoder_decoder_record import EncoderDecoderRecord
from llmasos.engine.plan import EnginePlan
from llmasos.errors import InvalidRequestError
from llmasos.text.language_tokens import LanguageTokens, language_tokens
from llmasos.text.text_task import SUMMARIZE, TRANSLATE, TextTask
from llmasos.text.tokenizer import Tokenizer

_SUMMARIZATION = "summarization"
_TRANSLATION = re.compile(r"translation_(\w+)_to_(\w+)")
_TRANSLATE_PREFIX = re.compile(r"translate (\w+) to (\w+): ?", re.IGNORECASE)
_NAMES = {
    "ar": "Arabic",
    "cs": "Czech",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "zh": "Chinese",
}
_PREFIXED = ("T5", "MT5")
"""Beginnings of the classes whose models read their task before the text."""


class EncodedPrompt(NamedTuple):
    """The tokens of a prompt; those that the decoder of an encoder-decoder begins with, if it was
    said; and the task's name in config.json.
    """

    token_ids: list[int]
    decoder_token_ids: tuple[int, ...] = ()
    task: str = ""


def sources_of(tokenizer: Tokenizer, plan: EnginePlan) -> SourceTexts | None:
    """Returns what encodes the texts of a plan with an encoder; None for any other."""
    return None if plan.encoder_decoder is None else SourceTexts(tokenizer, plan)


class _Words(NamedTuple):
    """What stands before a text, and the task's name in config.json."""

    prefix: str = ""
    task: str = ""


class SourceTexts:
    """Encodes the texts of one encoder-decoder; it never changes, so threads may share it."""

    def __init__(self, tokenizer: Tokenizer, plan: EnginePlan) -> None:
        """plan: has an encoder."""
        assert plan.encoder_decoder is not None
        self._tokenizer = tokenizer
        self._record: EncoderDecoderRecord = plan.encoder_decoder
        self._has_prefixes = plan.architecture.startswith(_PREFIXED)
        self._eos = plan.eos_token_ids
        self._languages = language_tokens(tokenizer, architecture=plan.architecture)

    def prefixed(self, text: str, asked: TextTask) -> str:
        """Returns the text as the encoder is to read it, without its special tokens."""
        return self._words(asked).prefix + text

    def encode(
        self, text: str, asked: TextTask, *, add_special_tokens: bool = True
    ) -> EncodedPrompt:
        """Returns the tokens of a text that `prefixed` returned.

        Raises InvalidRequestError for a task or a language that the model does not have.
        """
        task = self._words(asked).task
        task = task if task in self._record.tasks else ""
        languages = self._languages
        if languages is None or languages.target == "source":
            ids = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        else:
            ids = self._in_language(text, asked, languages, add_special_tokens)
        return EncodedPrompt(ids, self._decoder_ids(asked), task)

    def _in_language(
        self, text: str, asked: TextTask, languages: LanguageTokens, add_special_tokens: bool
    ) -> list[int]:
        if not asked.source_language or not add_special_tokens:
            return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        source = languages.id_of(asked.source_language, "source_language")
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        end = list(self._eos[:1])
        return [*ids, *end, source] if languages.source_is_last else [source, *ids, *end]

    def _decoder_ids(self, asked: TextTask) -> tuple[int, ...]:
        """What the decoder begins with; empty for what the model's config says."""
        languages, start = self._languages, self._record.decoder_start_token_id
        begin: tuple[int, ...] = ()
        if asked.target_language and languages is not None and languages.target != "source":
            target = languages.id_of(asked.target_language, "target_language")
            is_second = languages.target == "second" and start is not None
            begin = (start, target) if is_second and start is not None else (target,)
        if not asked.decoder_text:
            return begin
        if not begin:
            begin = () if start is None else (start,)
        return (*begin, *self._tokenizer.encode(asked.decoder_text, add_special_tokens=False))

    def _words(self, asked: TextTask) -> _Words:
        prefixes = self._record.prefixes
        if asked.name == SUMMARIZE:
            default = "summarize: " if self._has_prefixes else ""
            return _Words(prefixes.get(_SUMMARIZATION, default), _SUMMARIZATION)
        if asked.name == TRANSLATE or (
            not asked.name and (asked.source_language or asked.target_language)
        ):
            return self._translation(asked)
        if asked.name in self._record.tasks:
            return _Words(prefixes.get(asked.name, ""), asked.name)
        if asked.name:
            known = ", ".join((TRANSLATE, SUMMARIZE, *sorted(self._record.tasks)))
            raise InvalidRequestError(f"task must be one of {known}, got {asked.name!r:.60}")
        return _Words()

    def _translation(self, asked: TextTask) -> _Words:
        source, target = asked.source_language, asked.target_language
        if self._languages is not None:
            if self._languages.target == "source" and target:
                return _Words(f">>{self._languages.code_of(target, 'target_language')}<< ")
            return _Words()
        if not self._has_prefixes:
            return self._of_one_pair(asked)
        if not source or not target:
            missing = "target_language" if source else "source_language"
            raise InvalidRequestError(f"{missing} is missing: this model reads both before a text")
        for task, prefix in self._record.prefixes.items():
            codes, names = _TRANSLATION.fullmatch(task), _TRANSLATE_PREFIX.fullmatch(prefix)
            pairs = [m.groups() for m in (codes, names) if m is not None]
            if any(_same(pair, (source, target)) for pair in pairs):
                return _Words(prefix, task)
        return _Words(f"translate {_name(source)} to {_name(target)}: ")

    def _of_one_pair(self, asked: TextTask) -> _Words:
        """Of a model for one source and one target, as its tokenizer may name them."""
        said = self._tokenizer.languages
        for field, wanted, own in (
            ("source_language", asked.source_language, said[0]),
            ("target_language", asked.target_language, said[1]),
        ):
            if wanted and wanted.lower() not in {n.lower() for n in (own, _NAMES.get(own, own))}:
                raise InvalidRequestError(
                    f"{field} must be {own or 'left out'}: the model translates one pair of "
                    f"languages, got {wanted!r:.60}"
                )
        return _Words()


def _name(language: str) -> str:
    return _NAMES.get(language.lower(), language)


def _same(pair: tuple[str, ...], wanted: tuple[str, str]) -> bool:
    return [_name(one).lower() for one in pair] == [_name(one).lower() for one in wanted]
