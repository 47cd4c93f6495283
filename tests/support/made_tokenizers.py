"""Small tokenizers of each kind that models use, made in a moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = (
    "The quick brown fox jumps over the lazy dog. It's a fox, isn't it? No, it wasn't!",
    "Ein Löwe schläft. Größe: 12345 Meter, 3,14 % von 2024.",
    "今日は、世界! Привет, мир! 😀👨‍👩‍👧‍👦 emoji in a line",
    "def f(x):\n    return x ** 2  # code\n\n\tindented",
) * 8
TEXTS = (
    "",
    " ",
    "The quick brown fox jumps over the lazy dog.",
    "  two spaces,\n\n\tnewlines and a trailing space ",
    "It's 12345 o'clock , isn't it ? Yes ! Don't . I 've",
    "naïve café — Größe ½ Ǆ ﬁ",
    "今日は世界 Привет",
    "😀 👨‍👩‍👧‍👦 🇩🇪 a😀b",
    "<s>in<e>between<s> <e>",
    "\x00\x7f\u200b\ufeff",
    "x" * 300,
)
SPECIAL = ("<unk>", "<s>", "<e>")
BASE_CONFIG: Mapping[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "<e>",
}


def byte_level() -> Tokenizer:
    """As GPT-2 and Llama 3 have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def metaspace() -> Tokenizer:
    """As SentencePiece's unigram models have it, with a begin token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(SPECIAL), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def byte_fallback() -> Tokenizer:
    """As Llama 2 has it: pieces, and bytes for what has no piece."""
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", *"abcdefghijklmnopqrstuvwxyz.,!'", "th", "▁th", "▁the", "ox", "▁f", "▁fox"]
    merges = [("t", "h"), ("▁", "th"), ("▁th", "e"), ("o", "x"), ("▁", "f"), ("▁f", "ox")]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return tokenizer


def word_piece() -> Tokenizer:
    """As BERT has it: decoding leaves spaces before punctuation to be cleaned up."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


KINDS: Mapping[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "metaspace": metaspace,
    "byte_fallback": byte_fallback,
    "word_piece": word_piece,
}


def write_tokenizer(directory: Path, tokenizer: Tokenizer, **config: Any) -> Path:
    """tokenizer.json and tokenizer_config.json: the base one with these fields instead."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({**BASE_CONFIG, **config}))
    return directory
