"""Small SentencePiece models and word lists, as checkpoints without tokenizer.json have them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from llmasos.text.tokenizer_files.sentencepiece_model import SentencePieceModel
from made_tokenizers import CORPUS

_LETTERS = sorted(set("".join(CORPUS)) - set(" \n\t"))


def _trained(**options: Any) -> bytes:
    sentencepiece = pytest.importorskip("sentencepiece")
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=content,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=5,
        **options,
    )
    return content.getvalue()


def t5_unigram() -> bytes:
    """T5's: pad, end and unknown first, and no begin; normalized by NFKC."""
    return _trained(
        model_type="unigram",
        vocab_size=150,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=["fox", "▁12"],
    )


def encoder_unigram() -> bytes:
    """XLM-RoBERTa's: unknown, begin and end first."""
    return _trained(model_type="unigram", vocab_size=140)


def encoder_bpe() -> bytes:
    """M2M100's: pieces that are merged by their scores."""
    return _trained(model_type="bpe", vocab_size=140)


def pegasus_unigram() -> bytes:
    """PEGASUS's: pad and end first, then unknown."""
    return _trained(model_type="unigram", vocab_size=140, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def numbered(model: bytes) -> dict[str, int]:
    """A vocab.json as fairseq's and Marian's checkpoints have it: other ids than the model's, and
    tokens that the model does not have.
    """
    texts = [piece.text for piece in SentencePieceModel.parse(model, "made").pieces]
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    rest = [text for text in reversed(texts) if text not in first]
    others = ["世界", "今", "▁Привет"]
    everything = dict.fromkeys([*first, *others, *rest])
    return {text: index for index, text in enumerate(everything)}


def nfkc_unigram() -> bytes:
    """Unigram with bytes for what it has no piece for, and a control token."""
    return _trained(
        model_type="unigram", vocab_size=420, byte_fallback=True, control_symbols=["<x>"]
    )


def plain_unigram() -> bytes:
    """Unigram that takes the text as it is, and keeps every space."""
    return _trained(
        model_type="unigram",
        vocab_size=130,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
    )


def llama_pieces() -> bytes:
    """Llama's and Mistral's: merged by score, with bytes for what has no piece."""
    return _trained(
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["<new>"],
    )


def word_list() -> bytes:
    """BERT's vocab.txt, in lower case, with MPNet's special tokens too."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "<pad>", "</s>", "<mask>"]
    letters = dict.fromkeys(letter for text in _LETTERS for letter in text.lower())
    words = ["the", "quick", "fox", "##ox", "is", "##n", "123", "##45", "lowe", "schlaft", "cafe"]
    parts = [f"##{letter}" for letter in letters]
    return "\n".join([*special, *dict.fromkeys([*letters, *parts, *words]), ""]).encode()
