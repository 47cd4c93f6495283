"""The checkpoints that the sweep varies: one for each way in which transformers makes a tokenizer.

A row is a class, a model type, and the files that the vocabulary is in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from made_sentencepiece import (
    encoder_bpe,
    encoder_unigram,
    llama_pieces,
    nfkc_unigram,
    numbered,
    pegasus_unigram,
    plain_unigram,
    t5_unigram,
    word_list,
)
from made_tokenizers import byte_fallback, byte_level, metaspace, word_piece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """name: tokenizer_class, None for a file without it. model_type: of config.json, if any.

    two_files: the vocabulary is in vocab.json and merges.txt instead of tokenizer.json. file: the
    name of a file that has the vocabulary instead of tokenizer.json. numbers: that of one that
    numbers its pieces.
    """

    name: str | None
    model_type: str | None
    make: Callable[[], Tokenizer | bytes]
    two_files: bool = False
    file: str | None = None
    numbers: str | None = None

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True)
        if self.model_type is not None:
            write_json(directory / "config.json", {"model_type": self.model_type})
        config: dict[str, Any] = {"chat_template": CHATML}
        if self.name is not None:
            config["tokenizer_class"] = self.name
        write_json(directory / "tokenizer_config.json", config)
        if self.file is not None:
            (directory / self.file).write_bytes(_content(self.make))
            if self.numbers is not None:
                write_json(directory / self.numbers, numbered(_content(self.make)))
            if self.file == "source.spm":
                (directory / "target.spm").write_bytes(_content(self.make))
            return directory
        stored = _stored(self.make)
        if self.two_files:
            write_json(directory / "vocab.json", stored["model"]["vocab"])
            merges = [" ".join(pair) for pair in stored["model"]["merges"]]
            (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
        else:
            write_json(directory / "tokenizer.json", stored)
        return directory


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False))


@cache
def _stored(make: Callable[[], Tokenizer | bytes]) -> Mapping[str, Any]:
    tokenizer = make()
    assert isinstance(tokenizer, Tokenizer)
    content: Mapping[str, Any] = json.loads(tokenizer.to_str())
    return content


@cache
def _content(make: Callable[[], Tokenizer | bytes]) -> bytes:
    content = make()
    assert isinstance(content, bytes)
    return content


def digits_alone() -> Tokenizer:
    """Byte-level with a cut of its own, as SmolLM's and Llama 3's tokenizer.json have it."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), tokenizer.pre_tokenizer]
    )
    return tokenizer


def with_begin() -> Tokenizer:
    """Byte-level, with a begin token before each text."""
    tokenizer = byte_level()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def composing() -> Tokenizer:
    """Byte-level, with words of two merges and a normalizer of its own."""
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.NFKC()
    return tokenizer


def pieces_with_begin() -> Tokenizer:
    """Llama 2's: pieces with byte fallback and a begin token."""
    tokenizer = byte_fallback()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def bert_pieces() -> Tokenizer:
    """A tokenizer.json whose normalizer and pre-tokenizer BERT's class takes no notice of."""
    tokenizer = word_piece()
    stored = json.loads(tokenizer.to_str())["model"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *stored["vocab"]]
    tokenizer.model = models.WordPiece(
        {word: index for index, word in enumerate(dict.fromkeys(words))}, unk_token="[UNK]"
    )
    return tokenizer


def ignoring_merges() -> Tokenizer:
    tokenizer = byte_level()
    stored = json.loads(tokenizer.to_str())["model"]
    tokenizer.model = models.BPE(
        vocab={**stored["vocab"], "Ġcapital": len(stored["vocab"])},
        merges=[tuple(pair) for pair in stored["merges"]],
        ignore_merges=True,
    )
    return tokenizer


def fairseq_pieces() -> Tokenizer:
    """Unigram with the special tokens of fairseq's models, and one of mBART's languages."""
    tokenizer = metaspace()
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    first = [(text, 0.0) for text in ("<s>", "<pad>", "</s>", "<unk>")]
    rest = [(text, score) for text, score in pieces if text not in dict(first)]
    tokenizer.model = models.Unigram([*first, *rest, ("de_DE", 0.0)], unk_id=3)
    return tokenizer


def _two_files(name: str | None, model_type: str | None) -> Base:
    return Base(name=name, model_type=model_type, make=byte_level, two_files=True)


def _fairseq(name: str, model_type: str, make: Callable[[], bytes]) -> Base:
    return Base(name=name, model_type=model_type, make=make, file="sentencepiece.bpe.model")


BASES: Mapping[str, Base] = {
    "generic, byte-level": Base(
        name="PreTrainedTokenizerFast", model_type="llama", make=digits_alone
    ),
    "generic, unigram": Base(name="PreTrainedTokenizerFast", model_type=None, make=metaspace),
    "generic, word pieces": Base(name="PreTrainedTokenizer", model_type=None, make=word_piece),
    "no class, llama": Base(name=None, model_type="llama", make=with_begin),
    "no class, gpt_neox": Base(name=None, model_type="gpt_neox", make=with_begin),
    "unknown class": Base(name="HouseTokenizerFast", model_type="llama", make=ignoring_merges),
    "GPT2 of SmolLM": Base(name="GPT2Tokenizer", model_type="llama", make=digits_alone),
    "GPT2, two files": _two_files("GPT2Tokenizer", "gpt2"),
    "OPT, two files": Base(name="GPT2Tokenizer", model_type="opt", make=byte_level, two_files=True),
    "OPT, two files, no class": Base(name=None, model_type="opt", make=byte_level, two_files=True),
    "CodeGen, two files": _two_files("CodeGenTokenizer", None),
    "GPT-NeoX": Base(name="GPTNeoXTokenizer", model_type="gpt_neox", make=with_begin),
    "GPT-NeoX, two files": _two_files("GPTNeoXTokenizerFast", "gpt_neox"),
    "Qwen2": Base(name="Qwen2Tokenizer", model_type="qwen2", make=with_begin),
    "Qwen2, two files": _two_files("Qwen2Tokenizer", "qwen2"),
    "Qwen3 as generic": Base(name="PreTrainedTokenizerFast", model_type="qwen3", make=composing),
    "Qwen2 as Llama": Base(name="LlamaTokenizerFast", model_type="qwen2", make=composing),
    "Qwen3.5": Base(name="Qwen3_5Tokenizer", model_type=None, make=composing),
    "Llama 2": Base(name="LlamaTokenizer", model_type="llama", make=pieces_with_begin),
    "CodeLlama": Base(name="CodeLlamaTokenizerFast", model_type="llama", make=pieces_with_begin),
    "Llama 3 as Llama": Base(name="LlamaTokenizerFast", model_type="llama", make=digits_alone),
    "Mistral": Base(name="LlamaTokenizerFast", model_type="mistral", make=pieces_with_begin),
    "Phi-3": Base(name="LlamaTokenizerFast", model_type="phi3", make=pieces_with_begin),
    "Gemma": Base(name="GemmaTokenizerFast", model_type="gemma2", make=pieces_with_begin),
    "BERT": Base(name="BertTokenizerFast", model_type="bert", make=bert_pieces),
    "BERT, word list": Base(
        name="BertTokenizer", model_type="bert", make=word_list, file="vocab.txt"
    ),
    "DistilBERT, word list": Base(
        name=None, model_type="distilbert", make=word_list, file="vocab.txt"
    ),
    "MPNet, word list": Base(
        name="MPNetTokenizer", model_type="mpnet", make=word_list, file="vocab.txt"
    ),
    "RoBERTa": Base(name="RobertaTokenizerFast", model_type="roberta", make=byte_level),
    "RoBERTa, two files": Base(name=None, model_type="roberta", make=byte_level, two_files=True),
    "BART, two files": _two_files("BartTokenizer", "bart"),
    "T5": Base(name="T5TokenizerFast", model_type="t5", make=metaspace),
    "T5, SentencePiece": Base(
        name="T5Tokenizer", model_type="t5", make=t5_unigram, file="spiece.model"
    ),
    "mT5, SentencePiece": Base(name=None, model_type="mt5", make=t5_unigram, file="spiece.model"),
    "XLM-R, SentencePiece": _fairseq("XLMRobertaTokenizer", "xlm-roberta", encoder_unigram),
    "mBART, SentencePiece": _fairseq("MBartTokenizer", "mbart", encoder_unigram),
    "mBART-50, SentencePiece": _fairseq("MBart50Tokenizer", "mbart", encoder_unigram),
    "NLLB, SentencePiece": _fairseq("NllbTokenizer", "m2m_100", encoder_bpe),
    "PEGASUS, SentencePiece": Base(
        name=None, model_type="pegasus", make=pegasus_unigram, file="spiece.model"
    ),
    "mBART": Base(name="MBartTokenizerFast", model_type="mbart", make=fairseq_pieces),
    "mBART-50": Base(name="MBart50TokenizerFast", model_type="mbart", make=fairseq_pieces),
    "NLLB": Base(name="NllbTokenizerFast", model_type="m2m_100", make=pieces_with_begin),
    "PEGASUS": Base(name="PegasusTokenizerFast", model_type="pegasus", make=fairseq_pieces),
    "PEGASUS-X": Base(name="PegasusTokenizerFast", model_type="pegasus_x", make=metaspace),
    "Llama, SentencePiece": Base(
        name="LlamaTokenizer", model_type="llama", make=llama_pieces, file="tokenizer.model"
    ),
    "Mistral, SentencePiece": Base(
        name="LlamaTokenizer", model_type="mistral", make=llama_pieces, file="tokenizer.model"
    ),
    "plain, SentencePiece": Base(
        name="PreTrainedTokenizer", model_type=None, make=plain_unigram, file="tokenizer.model"
    ),
    "generic, SentencePiece": Base(
        name="PreTrainedTokenizerFast", model_type=None, make=nfkc_unigram, file="tokenizer.model"
    ),
    "Bloom": Base(name="BloomTokenizerFast", model_type="bloom", make=byte_level),
}
NUMBERED: Mapping[str, Base] = {
    "M2M100, two files": replace(
        _fairseq("M2M100Tokenizer", "m2m_100", encoder_bpe), numbers="vocab.json"
    ),
    "Marian, two files": replace(
        _fairseq("MarianTokenizer", "marian", encoder_unigram),
        file="source.spm",
        numbers="vocab.json",
    ),
}
"""Those whose transformers class loads SentencePiece's library."""
