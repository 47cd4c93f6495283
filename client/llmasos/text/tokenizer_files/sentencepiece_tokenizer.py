"""Makes a tokenizer of a SentencePiece model alone, for a checkpoint without a class of its own.

It follows the model's own settings, as SentencePiece's encoder does: normalization, spaces, a
space before the text, merges by score, and pieces that are never split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.sentencepiece_model import (
    NORMAL,
    USER_DEFINED,
    SentencePieceModel,
)

_SPACE = "▁"


def make_of_sentencepiece(
    model: SentencePieceModel, *, renamed: Mapping[int, str], legacy: bool
) -> Tokenizer:
    """renamed: other texts for pieces, by id, of BPE. legacy: a space goes before every part of
    a text between special tokens, and not before the first alone.
    """
    names = _names(model, {} if model.is_unigram else renamed)
    tokenizer = Tokenizer(_unigram(model) if model.is_unigram else _bpe(model, names))
    tokenizer.normalizer = _normalizer(model, legacy)
    whole = [names[i] for i, piece in enumerate(model.pieces) if piece.kind == USER_DEFINED]
    steps: list[pre_tokenizers.PreTokenizer] = []
    if model.add_dummy_prefix:
        scheme = "always" if legacy else "first"
        steps.append(
            pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=scheme, split=False)
        )
    if whole:
        longest_first = sorted(whole, key=len, reverse=True)
        pattern = Regex("|".join(re.escape(text) for text in longest_first))
        steps.append(pre_tokenizers.Split(pattern, behavior="isolated"))
    if steps:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = _decoder(model)
    return tokenizer


def _names(model: SentencePieceModel, renamed: Mapping[int, str]) -> list[str]:
    """The text of each piece; none takes the text of a piece that keeps its own."""
    kept = {piece.text for index, piece in enumerate(model.pieces) if index not in renamed}
    return [
        renamed[index] if index in renamed and renamed[index] not in kept else piece.text
        for index, piece in enumerate(model.pieces)
    ]


def _unigram(model: SentencePieceModel) -> models.Unigram:
    if not 0 <= model.unk_id < len(model.pieces):
        raise CheckpointError(
            f"the SentencePiece model has {len(model.pieces)} pieces, and the one for unknown "
            f"characters is {model.unk_id}"
        )
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    return models.Unigram(pieces, unk_id=model.unk_id, byte_fallback=model.byte_fallback)


def _bpe(model: SentencePieceModel, names: list[str]) -> models.BPE:
    return models.BPE(
        vocab={name: index for index, name in enumerate(names)},
        merges=merges_by_score(model, names),
        unk_token=model.unk_piece,
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
        ignore_merges=any(piece.kind == USER_DEFINED for piece in model.pieces),
    )


def merges_by_score(model: SentencePieceModel, names: Sequence[str]) -> list[tuple[str, str]]:
    """Every way to split a normal piece into two others: those of the best piece first.

    names: the text of each piece.
    """
    normal = {
        names[index]: (-piece.score, index)
        for index, piece in enumerate(model.pieces)
        if piece.kind == NORMAL
    }
    merges = sorted(
        (*rank, token[:cut], token[cut:])
        for token, rank in normal.items()
        for cut in range(1, len(token))
        if token[:cut] in normal and token[cut:] in normal
    )
    return [(left, right) for _, _, left, right in merges]


def _normalizer(model: SentencePieceModel, legacy: bool) -> normalizers.Sequence:
    steps: list[normalizers.Normalizer] = []
    if model.charsmap is not None:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.remove_extra_whitespaces:  # spaces alone: other whitespace stays
        ends = normalizers.Replace(Regex(r"\A +| +\z"), "")
        steps += [ends, normalizers.Replace(Regex(" {2,}"), " ")]
    if model.escape_whitespaces:
        steps.append(normalizers.Replace(" ", _SPACE))
    if model.add_dummy_prefix and legacy:  # Metaspace takes a mark at the start for its own
        steps.append(normalizers.Replace(Regex(rf"\A{_SPACE}"), _SPACE * 2))
    return normalizers.Sequence(steps)


def _decoder(model: SentencePieceModel) -> decoders.Sequence:
    steps: list[decoders.Decoder] = [decoders.Replace(_SPACE, " ")]
    if model.byte_fallback:
        steps.append(decoders.ByteFallback())
    if model.add_dummy_prefix or model.byte_fallback:
        steps.append(decoders.Fuse())
    if model.add_dummy_prefix:
        steps.append(decoders.Strip(content=" ", left=1))
    return decoders.Sequence(steps)
