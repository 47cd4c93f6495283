"""How a tokenizer class of transformers makes its tokenizer from a vocabulary.

Such a class takes a vocabulary (with merges or scores) alone, and sets up its own normalizer,
pre-tokenizer and decoder. Only the post-processor of tokenizer.json stays, if there is one and
the class has none of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, processors

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.sentencepiece_model import SentencePieceModel
from llmasos.text.tokenizer_files.token_entries import Token

BPE, WORD_PIECE, UNIGRAM = "BPE", "WordPiece", "Unigram"
ScoredPieces = Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the files say about a vocabulary.

    vocab: ids by token, of BPE and WordPiece. merges: pairs in the order in which they are
    merged. pieces: of Unigram, with scores, in the order of their ids. charsmap: compiled
    normalization rules of SentencePiece. added: tokens that a SentencePiece model adds itself;
    None where no such model was read. model: the SentencePiece model whose pieces `vocab` numbers.
    """

    vocab: Mapping[str, int] = field(default_factory=dict[str, int])
    merges: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    pieces: ScoredPieces = ()
    charsmap: bytes | None = None
    added: tuple[AddedToken, ...] | None = None
    model: SentencePieceModel | None = None

    def bpe(self, **options: Any) -> models.BPE:
        return models.BPE(vocab=dict(self.vocab), merges=self.merges, **options)

    def unigram(self, *, unk_id: int) -> models.Unigram:
        """Raises CheckpointError if there is no piece unk_id."""
        if not 0 <= unk_id < len(self.pieces):
            raise CheckpointError(
                f"the tokenizer's vocabulary has {len(self.pieces)} pieces, and its class takes "
                f"piece {unk_id} for unknown characters"
            )
        return models.Unigram(list(self.pieces), unk_id=unk_id, byte_fallback=False)


Maker = Callable[[Vocabulary, Mapping[str, Any]], Tokenizer]
Ends = Callable[[Tokenizer, Mapping[str, Any]], processors.PostProcessor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The recipe of one tokenizer class.

    make: makes the tokenizer without added tokens. tokens: its named tokens where no file says
    otherwise. specific: named tokens that other classes do not have. model: what kind of
    vocabulary it needs. vocab_file: where the vocabulary is when there is no tokenizer.json; None
    if tokenizer.json is needed. arrange: puts a SentencePiece model's pieces in the order of the
    network's ids. numbered_by: a file that numbers the pieces of vocab_file; there is no
    tokenizer.json then. more: as extra, given that file's tokens too, and always there. extra:
    special tokens without a name where no file names any, given those of a SentencePiece model.
    fills: True if a null list of such tokens counts as none. flags: of named tokens that are
    given as text. ends: the post-processor of the class. begins: True if its begin token goes
    before each text. readds: True if its special tokens are added once more, as plain ones.
    forgets: True if the post-processor of tokenizer.json is dropped.
    """

    make: Maker
    tokens: Mapping[str, str | None]
    specific: Mapping[str, str] = field(default_factory=dict[str, str])
    model: str = BPE
    vocab_file: str | None = None
    arrange: Callable[[ScoredPieces, Mapping[str, Any]], ScoredPieces] | None = None
    numbered_by: str | None = None
    more: (
        Callable[[tuple[AddedToken, ...] | None, Mapping[str, Any], Mapping[str, int]], list[Token]]
        | None
    ) = None
    extra: Callable[[tuple[AddedToken, ...] | None, Mapping[str, Any]], list[Token]] | None = None
    fills: bool = False
    flags: Mapping[str, Mapping[str, bool]] = field(default_factory=dict[str, Mapping[str, bool]])
    ends: Ends | None = None
    begins: bool = False
    readds: bool = False
    forgets: bool = False


def special_of_model(
    added: tuple[AddedToken, ...] | None, _config: Mapping[str, Any]
) -> list[Token]:
    """The special tokens of a class that takes those of its SentencePiece model."""
    return [*(added or ())]


def flag_of(
    config: Mapping[str, Any], name: str, *, default: bool, absent: bool | None = None
) -> bool:
    """A setting of tokenizer_config.json. absent: the meaning of null; None refuses null."""
    value = config.get(name, default)
    if value is None and absent is not None:
        return absent
    if not isinstance(value, bool):
        raise CheckpointError(f"tokenizer_config.json: {name} must be true or false, got {value!r}")
    return value


def unknown_token(vocabulary: Vocabulary, config: Mapping[str, Any]) -> str:
    """The token for unknown characters; raises CheckpointError if the vocabulary lacks it."""
    unknown = config["unk_token"]
    if unknown not in vocabulary.vocab:
        raise CheckpointError(
            f"the unk_token {unknown!r}, for unknown characters, is not in the vocabulary"
        )
    return str(unknown)
