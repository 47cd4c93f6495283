"""A tokenizer rebuilt from GGUF metadata gives the ids of the one it was made from."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.checkpoint.gguf.file import GGUFFile
from llmasos_builder.checkpoint.gguf.tokenizer import CUTS, make_tokenizer_files
from made_gguf import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, write_gguf
from made_tokenizers import TEXTS, byte_level
from tokenizers import Regex, pre_tokenizers

SPACE = "▁"


def rebuild(directory: Path, **values: Any) -> Tokenizer:
    """Write a GGUF file with this `tokenizer.ggml` metadata and load what it describes."""
    metadata = {f"tokenizer.ggml.{name}": value for name, value in values.items()}
    path = write_gguf(directory / "m.gguf", {"x": np.zeros(32, np.float32)}, values=metadata)
    for name, content in make_tokenizer_files(GGUFFile(path)).items():
        (directory / name).write_bytes(content)
    return Tokenizer.load(directory)


def byte_level_metadata(**more: Any) -> dict[str, Any]:
    """The trained byte-level tokenizer's tokens and merges, as GGUF holds them."""
    model = json.loads(byte_level().to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    kinds = [CONTROL if token in {"<unk>", "<s>", "<e>"} else NORMAL for token in tokens]
    return {
        "tokens": tokens,
        "token_type": kinds,
        "merges": [" ".join(pair) for pair in model["merges"]],
        "bos_token_id": 1,
        "eos_token_id": 2,
        **more,
    }


def test_a_byte_level_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    original, rebuilt = byte_level(), rebuild(tmp_path, **byte_level_metadata(pre="gpt-2"))
    for text in TEXTS:
        ids = original.encode(text).ids
        assert rebuilt.encode(text) == ids
        assert rebuilt.decode(ids, skip_special_tokens=False) == original.decode(
            ids, skip_special_tokens=False
        )
    assert rebuilt.special_ids == {0, 1, 2}
    assert rebuilt.eos_token_ids == (2,)


@pytest.mark.parametrize(
    ("pre", "text", "words"),
    [
        ("gpt-2", "Don't  it'S 1234", ["Don", "'t", "Ġ", "Ġit", "'", "S", "Ġ1234"]),
        ("smollm", "a 123", ["a", "Ġ", "1", "2", "3"]),
        ("smollm", "x1 you'll", ["x", "1", "Ġyou", "'ll"]),
        ("smollm", "½²", ["Â½", "Â²"]),
        ("llama-bpe", "12345 6", ["123", "45", "Ġ", "6"]),
        ("llama-bpe", "IT'S .net\n\n  x", ["IT", "'S", "Ġ.", "net", "ĊĊ", "Ġ", "Ġx"]),
        ("qwen2", "12345", ["1", "2", "3", "4", "5"]),
        ("qwen2", "we'LL (ok)!\r\n", ["we", "'LL", "Ġ(", "ok", ")!čĊ"]),
        ("dbrx", "12345 IT'S", ["123", "45", "ĠIT", "'S"]),
        ("gpt-4o", "helloWorld's 1234", ["hello", "World's", "Ġ", "123", "4"]),
        ("gpt-4o", "ABCdef it'LL a/b", ["ABCdef", "Ġit'LL", "Ġa", "/b"]),
        ("gpt-4o", "x //\n/y", ["x", "Ġ//Ċ/", "y"]),
        ("tekken", "helloWorld's 12", ["hello", "World", "'s", "Ġ", "1", "2"]),
        ("default", "a+b 12345", ["a", "+", "b", "Ġ", "123", "45"]),
        ("default", "Hi, you", ["Hi", ",", "Ġyou"]),
    ],
)
def test_text_is_cut_into_words_as_the_name_says(pre: str, text: str, words: list[str]) -> None:
    assert [word for word, _ in CUTS[pre].pre_tokenizer().pre_tokenize_str(text)] == words


def test_smollm_is_cut_as_its_own_tokenizer_json_cuts_it() -> None:
    published = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    for text in TEXTS:
        expected = published.pre_tokenize_str(text)
        assert CUTS["smollm"].pre_tokenizer().pre_tokenize_str(text) == expected


BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"  # noqa: RUF001
PUBLISHED = {
    "falcon": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    ),
    "bloom": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(BLOOM), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    "olmo": pre_tokenizers.ByteLevel(add_prefix_space=False),
}


@pytest.mark.parametrize("pre", PUBLISHED)
def test_others_are_cut_as_their_own_tokenizer_json_cuts_them(pre: str) -> None:
    own = CUTS[pre].pre_tokenizer()
    texts = [*TEXTS, "f(x) = `a_b` + 12345.6!", "don't (ok), you'll", "x  y\n\n z…"]
    for text in texts:
        expected = [word for word, _ in PUBLISHED[pre].pre_tokenize_str(text)]
        assert [word for word, _ in own.pre_tokenize_str(text)] == expected


def test_every_text_survives_every_cut(tmp_path: Path) -> None:
    metadata = byte_level_metadata()
    for pre in CUTS:
        directory = tmp_path / pre
        directory.mkdir()
        rebuilt = rebuild(directory, **metadata, pre=pre, add_bos_token=False)
        for text in TEXTS:
            assert rebuilt.decode(rebuilt.encode(text), skip_special_tokens=False) == text


def test_qwen2_composes_characters_as_hugging_face_does(tmp_path: Path) -> None:
    rebuilt = rebuild(tmp_path, **byte_level_metadata(pre="qwen2"))
    assert rebuilt.encode("e\u0301") == rebuilt.encode("\u00e9")


def test_a_whole_word_of_llama_3_is_not_merged_from_parts(tmp_path: Path) -> None:
    metadata = byte_level_metadata()
    metadata["tokens"] = [*metadata["tokens"], "zzz"]
    metadata["token_type"] = [*metadata["token_type"], NORMAL]
    for pre, expected in (("llama-bpe", 1), ("gpt-2", 3)):
        directory = tmp_path / pre
        directory.mkdir()
        rebuilt = rebuild(directory, **metadata, pre=pre, add_bos_token=False)
        assert len(rebuilt.encode("zzz")) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pre": "gpt-2"}, [67]),
        ({"pre": "llama-bpe"}, [1, 67]),
        ({"pre": "llama-bpe", "add_bos_token": False}, [67]),
        ({"pre": "gpt-2", "add_bos_token": True, "add_eos_token": True}, [1, 67, 2]),
    ],
)
def test_begin_and_end_tokens_are_added_as_the_file_says(
    tmp_path: Path, values: dict[str, Any], expected: list[int]
) -> None:
    assert rebuild(tmp_path, **byte_level_metadata(**values)).encode("a") == expected


def test_user_defined_tokens_are_cut_out_but_are_not_special(tmp_path: Path) -> None:
    metadata = byte_level_metadata(pre="gpt-2")
    metadata["tokens"] = [*metadata["tokens"], "<tool>"]
    metadata["token_type"] = [*metadata["token_type"], USER_DEFINED]
    rebuilt = rebuild(tmp_path, **metadata)
    index = len(metadata["tokens"]) - 1
    assert rebuilt.encode("a<tool>") == [67, index]
    assert rebuilt.decode([67, index]) == "a<tool>"
    assert index not in rebuilt.special_ids


def test_the_ends_of_turns_end_a_text_too(tmp_path: Path) -> None:
    rebuilt = rebuild(tmp_path, **byte_level_metadata(pre="gpt-2", eot_token_id=0))
    assert rebuilt.eos_token_ids == (0, 2)


class SentencePiece:
    """Reference: joins the neighbours whose whole has the best score, leftmost first."""

    def __init__(self, scores: dict[str, float], ids: dict[str, int]) -> None:
        self._scores = scores
        self._ids = ids

    def encode(self, text: str) -> list[int]:
        if not text:
            return []
        pieces = list((SPACE + text).replace(" ", SPACE))
        while True:
            pairs = [
                (-self._scores[a + b], index)
                for index, (a, b) in enumerate(itertools.pairwise(pieces))
                if a + b in self._scores
            ]
            if not pairs:
                break
            _, index = min(pairs)
            pieces[index : index + 2] = [pieces[index] + pieces[index + 1]]
        return [token_id for piece in pieces for token_id in self._piece_ids(piece)]

    def _piece_ids(self, piece: str) -> list[int]:
        if piece in self._ids:
            return [self._ids[piece]]
        return [self._ids[f"<0x{byte:02X}>"] for byte in piece.encode()]


def sentencepiece_metadata() -> tuple[dict[str, Any], SentencePiece]:
    words = ("the", "fox", "jumps", "over", "lazy", "dog", "löwe", "ou", "jum", "la", "zy")
    wholes = {SPACE + word for word in words} | set(words)
    pieces = {word[:end] for word in wholes for end in range(2, len(word) + 1)}
    pieces |= {word[start : start + 2] for word in wholes for start in range(len(word) - 1)}
    letters = sorted(set("".join(wholes)))
    fixed = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens = [*fixed, *sorted(pieces), *letters]
    draw = random.Random(0)
    scores = [0.0] * len(fixed) + [-draw.random() * 50 for _ in pieces] + [-99.0] * len(letters)
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * (len(tokens) - len(fixed))
    ids = {token: index for index, token in enumerate(tokens)}
    kept = [float(np.float32(score)) for score in scores]
    reference = SentencePiece(
        {t: s for t, s, k in zip(tokens, kept, kinds, strict=True) if k == NORMAL}, ids
    )
    metadata = {
        "model": "llama",
        "pre": None,
        "merges": None,
        "tokens": tokens,
        "scores": scores,
        "token_type": kinds,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    return metadata, reference


def test_a_sentencepiece_tokenizer_merges_by_score(tmp_path: Path) -> None:
    metadata, reference = sentencepiece_metadata()
    rebuilt = rebuild(tmp_path, **metadata)
    draw = random.Random(1)
    words = ["the", "fox", "jumps", "over", "lazy", "dog", "löwe", "xyz", "😀", "", "theou", "zyla"]
    for _ in range(300):
        text = " ".join(draw.choices(words, k=draw.randrange(8)))
        assert rebuilt.encode(text) == [1, *reference.encode(text)], text


def test_sentencepiece_text_survives(tmp_path: Path) -> None:
    rebuilt = rebuild(tmp_path, **sentencepiece_metadata()[0])
    for text in TEXTS:
        if "<" not in text:  # <s> in text is the special token
            assert rebuilt.decode(rebuilt.encode(text)) == text


def test_without_a_space_prefix_none_is_added_or_taken(tmp_path: Path) -> None:
    metadata, _ = sentencepiece_metadata()
    rebuilt = rebuild(tmp_path, **metadata, add_space_prefix=False, add_bos_token=False)
    with_space = rebuilt.encode(" the")
    assert rebuilt.decode(with_space) == " the"
    assert rebuilt.encode("the") != with_space
