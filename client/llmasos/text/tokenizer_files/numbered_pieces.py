"""Tokenizers whose pieces a SentencePiece model finds and vocab.json numbers: Marian's, M2M100's.

transformers encodes with the model, and looks each piece up. Here the pieces are put in the order
of vocab.json, and the tokenizer is made of them. Tokens of vocab.json that the model does not have,
as those of Marian's other language, are the last choice for a text, where the model would find
unknown characters. A piece that vocab.json lacks is not found here, and its text is cut into
others, where transformers takes the whole for unknown; published models have none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.declared_tokens import NAMED_TOKENS
from llmasos.text.tokenizer_files.language_codes import M2M_100, WMT_21
from llmasos.text.tokenizer_files.recipe import Recipe, Vocabulary
from llmasos.text.tokenizer_files.sentencepiece_model import (
    CONTROL,
    Piece,
    SentencePieceModel,
)
from llmasos.text.tokenizer_files.sentencepiece_tokenizer import make_of_sentencepiece
from llmasos.text.tokenizer_files.templates_of_class import needed, template
from llmasos.text.tokenizer_files.token_entries import Token

_LAST_CHOICE = -1.0e4
_HIDDEN = "\x00"


def _make(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    assert vocabulary.model is not None
    named = {str(config.get(name)) for name in NAMED_TOKENS}
    unknown = str(config["unk_token"])
    model = _numbered(vocabulary.model, vocabulary.vocab, unknown, named)
    return make_of_sentencepiece(model, renamed={}, legacy=True)


def _numbered(
    model: SentencePieceModel, ids: Mapping[str, int], unknown: str, named: Collection[str]
) -> SentencePieceModel:
    """Returns the model with its pieces where vocab.json has them; raises CheckpointError.

    named: tokens that are added by their text. SentencePiece finds no other control piece in a
    text, so it gets a text that none has.
    """
    if unknown not in ids:
        raise CheckpointError(
            f"the unk_token {unknown!r}, for unknown characters, is not in vocab.json"
        )
    if sorted(ids.values()) != list(range(len(ids))):
        raise CheckpointError(
            f"vocab.json must number its {len(ids)} tokens from 0 without gaps, and does not"
        )
    known = {piece.text: piece for piece in model.pieces}
    pieces = [Piece(unknown, 0.0, CONTROL)] * len(ids)
    for text, index in ids.items():
        piece = known.get(text, Piece(text, _LAST_CHOICE, CONTROL))
        is_hidden = text in known and piece.kind == CONTROL and text not in named
        pieces[index] = piece._replace(text=f"{_HIDDEN}{text}") if is_hidden else piece
    return replace(model, pieces=pieces, unk_id=ids[unknown], unk_piece=unknown)


def _marian_extra(
    _added: object, config: Mapping[str, Any], vocab: Mapping[str, int]
) -> list[Token]:
    del config
    codes = [text for text in vocab if text.startswith(">>") and text.endswith("<<")]
    return [AddedToken(code, normalized=False, special=False) for code in codes]


def _m2m_100_extra(
    _added: object, config: Mapping[str, Any], vocab: Mapping[str, int]
) -> list[Token]:
    """The languages, whose ids follow those of vocab.json."""
    del vocab
    codes = config.get("language_codes") or "m2m100"
    if codes not in ("m2m100", "wmt21"):
        raise CheckpointError(
            f"tokenizer_config.json: language_codes must be m2m100 or wmt21, got {codes!r:.60}"
        )
    return [f"__{code}__" for code in (M2M_100 if codes == "m2m100" else WMT_21)]


def _marian_ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
    return template(tokenizer, None, needed(config, "eos_token"))


def _m2m_100_ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
    language = f"__{config.get('src_lang') or 'en'}__"
    if tokenizer.token_to_id(language) is None:
        raise CheckpointError(
            f"tokenizer_config.json: src_lang is {config.get('src_lang')!r:.60}, and the tokenizer "
            f"has no token {language}"
        )
    return template(tokenizer, language, None, needed(config, "eos_token"))


NUMBERED_RECIPES: Mapping[str, Recipe] = {
    "M2M100Tokenizer": Recipe(
        make=_make,
        tokens={
            "bos_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
        },
        vocab_file="sentencepiece.bpe.model",
        numbered_by="vocab.json",
        more=_m2m_100_extra,
        ends=_m2m_100_ends,
    ),
    "MarianTokenizer": Recipe(
        make=_make,
        tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
        vocab_file="source.spm",
        numbered_by="vocab.json",
        more=_marian_extra,
        ends=_marian_ends,
    ),
}
