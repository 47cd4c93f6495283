"""Bounds how much text one token can stand for, so that a text's size shows that it is too long.

Most tokenizers of language models lose nothing: each byte of a text is in one of its tokens.
Others drop text (a normalizer that strips, a word of any length that becomes one unknown token,
a special token that swallows the spaces beside it). For these, no length of a text implies a
number of tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import models

_Part = Mapping[str, Any]
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)
_BYTE_OF = {
    **{chr(byte): byte for byte in _PRINTABLE},
    **{chr(256 + place): byte for place, byte in enumerate(_OTHERS)},
}
"""The byte that each character of a byte-level vocabulary stands for, as in GPT-2."""
_UNICODE_FORMS = frozenset({"NFC", "NFD", "NFKC", "NFKD"})
_LONGEST_CHARACTER = 4
_LOWERCASE_SHRINKS = 3
"""The most by which lower case shortens a character: the Kelvin sign goes from 3 bytes to 1."""
_KEEPING_NORMALIZERS = frozenset({"Prepend", "ByteLevel"})
_KEEPING_PRE_TOKENIZERS = frozenset(
    {"ByteLevel", "Digits", "FixedLength", "Metaspace", "UnicodeScripts"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSizes:
    """The sizes of a tokenizer's tokens.

    longest: the most bytes of text, after unicode_form, that one token stands for.
    unicode_form: the normal form that is applied first, if any. unknown: bytes without a token in a
    byte-level vocabulary. loses_nothing: True if every other byte is in a token; otherwise a text
    may be of any length.
    """

    longest: int
    unicode_form: str | None
    unknown: bytes
    loses_nothing: bool

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer) -> TokenSizes:
        """Measures a tokenizer; a component that is not known counts as one that loses text."""
        normalizers = list(_parts(backend.normalizer, "normalizers"))
        splitters = list(_parts(backend.pre_tokenizer, "pretokenizers"))
        is_byte_level = any(part["type"] == "ByteLevel" for part in (*normalizers, *splitters))
        shrinkage, forms = 1, [p["type"] for p in normalizers if p["type"] in _UNICODE_FORMS]
        for part in normalizers:
            shrinkage *= _shrinkage(part) or 1
        return cls(
            longest=shrinkage * _longest(backend, is_byte_level=is_byte_level),
            unicode_form=forms[0] if forms else None,
            unknown=_unknown(backend.model) if is_byte_level else b"",
            loses_nothing=(
                len(forms) <= 1
                and all(_shrinkage(part) for part in normalizers)
                and all(_keeps(part) for part in splitters)
                and _knows_every_byte(backend.model, is_byte_level=is_byte_level)
                and not any(
                    token.lstrip or token.rstrip
                    for token in backend.get_added_tokens_decoder().values()
                )
            ),
        )


def _parts(component: Any, several: str) -> Iterator[_Part]:
    """Yields the steps of a normalizer or pre-tokenizer, in the form of tokenizer.json."""
    if component is not None:
        waiting: list[_Part] = [json.loads(component.__getstate__())]
        while waiting:
            part = waiting.pop(0)
            if part["type"] == "Sequence":
                waiting = [*part[several], *waiting]
            else:
                yield part


def _shrinkage(normalizer: _Part) -> int:
    """The largest factor by which a normalizer shortens a text; 0 if there is no bound."""
    kind = normalizer["type"]
    if kind in _UNICODE_FORMS or kind in _KEEPING_NORMALIZERS:
        return 1
    if kind == "Lowercase":
        return _LOWERCASE_SHRINKS
    found, written = normalizer.get("pattern", {}).get("String"), normalizer.get("content")
    if kind == "Replace" and found and written:
        return max(1, -(-len(found.encode()) // len(written.encode())))
    return 0


def _keeps(pre_tokenizer: _Part) -> bool:
    kind = pre_tokenizer["type"]
    if kind in ("Split", "Punctuation"):
        return bool(pre_tokenizer["behavior"] != "Removed")
    return kind in _KEEPING_PRE_TOKENIZERS


def _knows_every_byte(model: Any, *, is_byte_level: bool) -> bool:
    """True if no text is unknown to the model; unknown text may be dropped or merged."""
    if is_byte_level:
        return isinstance(model, models.BPE)  # but for what `_unknown` finds
    if not isinstance(model, models.BPE | models.Unigram) or not _falls_back(model):
        return False
    return all(model.token_to_id(f"<0x{byte:02X}>") is not None for byte in range(256))


def _unknown(model: Any) -> bytes:
    """Bytes missing from a vocabulary, such as control characters that its corpus did not have."""
    return bytes(byte for name, byte in _BYTE_OF.items() if model.token_to_id(name) is None)


def _falls_back(model: models.BPE | models.Unigram) -> bool:
    if isinstance(model, models.BPE):
        return bool(model.byte_fallback)
    return bool(json.loads(model.__getstate__()).get("byte_fallback"))


def _longest(backend: tokenizers.Tokenizer, *, is_byte_level: bool) -> int:
    added = (token.content for token in backend.get_added_tokens_decoder().values())
    sizes = [len(content.encode()) for content in added]
    for name in backend.get_vocab(with_added_tokens=False):
        is_bytes = is_byte_level and _BYTE_OF.keys() >= set(name)
        sizes.append(len(name) if is_bytes else len(name.encode()))
    return max(_LONGEST_CHARACTER, *sizes) if sizes else _LONGEST_CHARACTER
