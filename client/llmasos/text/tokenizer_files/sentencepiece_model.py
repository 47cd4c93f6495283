"""Reads a SentencePiece model file: its pieces, and how it normalizes a text.

The file is one protocol buffer message, ModelProto of sentencepiece_model.proto. The few fields
that decide token ids are read here, so that no protocol buffer library is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmasos.errors import CheckpointError

MAX_PIECES = 1 << 21
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
_UNIGRAM, _BPE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Field numbers of ModelProto, SentencePiece, TrainerSpec and NormalizerSpec.
_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _KIND = 1, 2, 3
_MODEL_TYPE, _BYTE_FALLBACK, _UNK_ID, _BOS_ID, _EOS_ID = 3, 35, 40, 41, 42
_UNK_PIECE, _BOS_PIECE, _EOS_PIECE = 45, 46, 47
_CHARSMAP, _DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPES = 2, 3, 4, 5


class Piece(NamedTuple):
    """kind: NORMAL, CONTROL, USER_DEFINED, or another number of SentencePiece's."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePieceModel:
    """The pieces in the order of their ids, and the settings that encoding needs.

    charsmap: compiled normalization rules; None if the text is taken as it is. The ids are -1 for
    a token that the model does not have.
    """

    pieces: Sequence[Piece]
    is_unigram: bool
    byte_fallback: bool
    unk_id: int
    bos_id: int
    eos_id: int
    unk_piece: str
    bos_piece: str
    eos_piece: str
    charsmap: bytes | None
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool

    @classmethod
    def parse(cls, content: bytes, path: str) -> SentencePieceModel:
        """path: what a CheckpointError calls the file, if it is damaged or of another type."""
        try:
            return _model(content)
        except (ValueError, struct.error, IndexError) as error:
            raise CheckpointError(f"{path} is not a SentencePiece model: {error}") from error


def _model(content: bytes) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, _Value] = {}
    normalizer: dict[int, _Value] = {}
    for number, value in _fields(content):
        if number == _PIECE:
            pieces.append(_piece(_bytes(value)))
            if len(pieces) > MAX_PIECES:
                raise ValueError(f"it has more than {MAX_PIECES} pieces")
        elif number == _TRAINER:
            trainer |= dict(_fields(_bytes(value)))
        elif number == _NORMALIZER:
            normalizer |= dict(_fields(_bytes(value)))
    model_type = _number(trainer, _MODEL_TYPE, _UNIGRAM)
    if not pieces:
        raise ValueError("it has no pieces")
    if model_type not in (_UNIGRAM, _BPE):
        raise ValueError(f"its model type is {model_type}; 1 (unigram) and 2 (BPE) are supported")
    return SentencePieceModel(
        pieces=pieces,
        is_unigram=model_type == _UNIGRAM,
        byte_fallback=bool(_number(trainer, _BYTE_FALLBACK, 0)),
        unk_id=_number(trainer, _UNK_ID, 0),
        bos_id=_number(trainer, _BOS_ID, 1),
        eos_id=_number(trainer, _EOS_ID, 2),
        unk_piece=_text(trainer, _UNK_PIECE) or "<unk>",
        bos_piece=_text(trainer, _BOS_PIECE) or "<s>",
        eos_piece=_text(trainer, _EOS_PIECE) or "</s>",
        charsmap=_bytes(normalizer.get(_CHARSMAP, b"")) or None,
        add_dummy_prefix=bool(_number(normalizer, _DUMMY_PREFIX, 1)),
        remove_extra_whitespaces=bool(_number(normalizer, _EXTRA_SPACES, 1)),
        escape_whitespaces=bool(_number(normalizer, _ESCAPES, 1)),
    )


_Value = int | bytes


def _piece(content: bytes) -> Piece:
    fields = dict(_fields(content))
    score = _bytes(fields.get(_SCORE, bytes(4)))
    return Piece(
        text=_text(fields, _TEXT),
        score=struct.unpack("<f", score)[0],
        kind=_number(fields, _KIND, NORMAL),
    )


def _fields(content: bytes) -> Iterator[tuple[int, _Value]]:
    """Yields number and value of every field; four or eight fixed bytes stay bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(content, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"field {number} has the unknown wire type {wire}")
        if at + size > len(content):
            raise ValueError(f"field {number} ends after the end of the file")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("it ends within a number")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it has a number of more than 10 bytes")


def _number(fields: dict[int, _Value], number: int, default: int) -> int:
    """A 32-bit number; a negative one is stored as 64 bits."""
    value = fields.get(number, default)
    if not isinstance(value, int):
        raise ValueError(f"field {number} is not a number")
    return value - (1 << 64) if value >> 63 == 1 else value


def _text(fields: dict[int, _Value], number: int) -> str:
    return _bytes(fields.get(number, b"")).decode()


def _bytes(value: _Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number stands where text is needed")
    return value
