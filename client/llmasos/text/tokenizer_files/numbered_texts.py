"""What SentencePiece, and Marian's class, do to a text before it is cut into pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tokenizers import Regex, normalizers

from llmasos.text.tokenizer_files.patterns import any_of, other_than
from llmasos.text.tokenizer_files.sentencepiece_model import SentencePieceModel

_SPACE = "▁"
# Characters that stand for something: where a language's token begins and ends, where an unknown
# language was, and where unknown characters were.
LANGUAGE, END, _NO_LANGUAGE, _UNKNOWN = "\uf8f0", "\uf8f1", "\uf8f2", "\uf8f3"
_MAX_CODE = 32


def codes(vocab: Iterable[str]) -> list[str]:
    """Marian's tokens for languages."""
    return [text for text in vocab if re.fullmatch(rf">>[^<>▁\s]{{1,{_MAX_CODE - 4}}}<<", text)]


def _replaced(pattern: str, content: str) -> normalizers.Normalizer:
    return normalizers.Replace(Regex(pattern), content)


def languages(codes: Sequence[str]) -> list[normalizers.Normalizer]:
    """Marks a language's token at the start, and replaces that of an unknown language.

    The marks make it the token; elsewhere it is text.
    """
    steps = [_replaced(f"[{LANGUAGE}{END}]", _UNKNOWN)]
    if codes:
        steps.append(normalizers.Prepend(LANGUAGE))
        steps.append(_replaced(rf"\A{LANGUAGE}(?!>>(?:{any_of(codes)})<<)", ""))
        steps.append(_replaced(rf"\A{LANGUAGE}>>[^<]*\K<<", f"<<{END}"))
    return [*steps, _replaced(r"\A>>(?m:(?!<<).)*<<", _NO_LANGUAGE)]


def behind_language() -> list[normalizers.Normalizer]:
    """A space before the text behind a language's token, instead of before that token."""
    return [
        _replaced(rf"\A{_SPACE}+(?=[{LANGUAGE}{_NO_LANGUAGE}])", ""),
        _replaced(rf"\A{LANGUAGE}[^{END}]*\K{END}{_SPACE}*(?=(?m:.))", END + _SPACE),
        _replaced(rf"\A{_NO_LANGUAGE}{_SPACE}*(?=(?m:.))", _NO_LANGUAGE + _SPACE),
    ]


def sentencepiece_steps(model: SentencePieceModel) -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = []
    if model.charsmap is not None:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.remove_extra_whitespaces:  # spaces alone: other whitespace stays
        steps += [_replaced(r"\A +| +\z", ""), _replaced(" {2,}", " ")]
    if model.escape_whitespaces:
        steps.append(normalizers.Replace(" ", _SPACE))
    if model.add_dummy_prefix:
        steps.append(normalizers.Prepend(_SPACE))
    if model.remove_extra_whitespaces:  # marks that are the text's own count as spaces there
        steps.append(_replaced(rf"{_SPACE}+\z", ""))
    return steps


def one_unknown(known: set[str], others: Sequence[str]) -> normalizers.Normalizer:
    """One character for each run of unknown ones, but for a run that vocab.json has."""
    strange = other_than({*known, LANGUAGE, END})
    kept = rf"(?!(?:{any_of(others)})(?!{strange}))" if others else ""
    kept += rf"(?![^{_SPACE}{END}]{{0,{_MAX_CODE}}}{END})"  # a language's token
    return _replaced(rf"(?<!{strange})(?={strange}){kept}{strange}+", _UNKNOWN)
