"""Marian's and M2M100's tokenizers give the ids of transformers' on any text."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_texts import HOSTILE
from llmasos.errors import CheckpointError
from llmasos.text.tokenizer import Tokenizer
from llmasos.text.tokenizer_files import TokenizerSources, resolve
from llmasos_runtime.text.detokenizer import Detokenizer
from llmasos_runtime.text.text import TextStream
from tokenizer_bases import NUMBERED

# transformers loads SentencePiece's library, which crashes in a process with some others.
THEIRS = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(sys.stdin)
whole = [tokenizer(text)["input_ids"] for text in texts]
bare = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
decoded = [tokenizer.decode(ids, skip_special_tokens=True) for ids in bare]
json.dump([whole, bare, decoded], sys.stdout)
"""

# What is in vocab.json and not in the model, and languages where they are and are not a token.
OTHERS = (">>fra<<", ">>fra<< ", " >>fra<<", ">>xx<< ", "<<", "ßø", "ø", "日本", "x日本y", "schön")


def with_others(directory: Path, *, num_missing: int) -> None:
    """Adds languages and the other language's tokens to vocab.json, and takes pieces out."""
    path = directory / "vocab.json"
    ids = json.loads(path.read_text())
    missing = [text for text in ids if text.startswith("▁") and len(text) > 1][:num_missing]
    more = [">>fra<<", ">>deu<<", "ßø", "ø", "日本", "▁schön"]
    kept = [text for text in (*ids, *more) if text not in missing]
    path.write_text(json.dumps({text: index for index, text in enumerate(kept)}))


def texts(count: int) -> list[str]:
    draw = random.Random(7)
    parts = [*(text for text in HOSTILE if "\x00" not in text), *OTHERS]
    return ["", *("".join(draw.choices(parts, k=draw.randint(1, 6))) for _ in range(count))]


@pytest.mark.parity
@pytest.mark.parametrize("num_missing", [0, 5])
@pytest.mark.parametrize("name", sorted(NUMBERED))
def test_any_text_has_the_ids_and_the_text_of_transformers(
    tmp_path: Path, name: str, num_missing: int
) -> None:
    import needs_torch  # noqa: F401

    directory = NUMBERED[name].write(tmp_path / "checkpoint")
    with_others(directory, num_missing=num_missing)
    given = texts(300)
    found = subprocess.run(
        [sys.executable, "-c", THEIRS, str(directory)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    whole, bare, decoded = json.loads(found.stdout)
    for content in (directory, plan_of(directory, tmp_path / "plan")):
        tokenizer = Tokenizer.load(content)
        assert [tokenizer.encode(text) for text in given] == whole
        assert [tokenizer.encode(text, add_special_tokens=False) for text in given] == bare
        assert [tokenizer.decode(ids).lstrip() for ids in bare] == decoded
    assert all(i < tokenizer.vocab_size for ids in whole for i in ids)
    assert max(tokenizer.vocabulary.values()) < tokenizer.vocab_size


def plan_of(directory: Path, plan: Path) -> Path:
    plan.mkdir()
    for name, content in resolve(TokenizerSources.read(directory)).files().items():
        (plan / name).write_bytes(content)
    return plan


def test_a_piece_without_a_number_is_unknown(tmp_path: Path) -> None:
    directory = NUMBERED["Marian, two files"].write(tmp_path / "checkpoint")
    before = Tokenizer.load(directory)
    with_others(directory, num_missing=1000)
    after = Tokenizer.load(directory)
    gone = before.vocabulary.keys() - after.vocabulary.keys()
    assert "▁fox" in gone
    unknown = after.vocabulary["<unk>"]
    assert after.encode("fox", add_special_tokens=False) == [unknown]
    assert after.encode_with_ends("fox")[0][0] == unknown


def test_a_text_has_the_same_pieces_as_a_stream(tmp_path: Path) -> None:
    directory = NUMBERED["Marian, two files"].write(tmp_path / "checkpoint")
    tokenizer = Tokenizer.load(directory)
    for text in texts(60):
        ids = tokenizer.encode(text)
        stream = TextStream(Detokenizer(tokenizer))
        pieces = [stream.push((index,)).text for index in ids]
        assert "".join((*pieces, stream.finish().text)) == tokenizer.decode(ids)


def test_languages_have_the_ids_behind_the_vocabulary(tmp_path: Path) -> None:
    directory = NUMBERED["M2M100, two files"].write(tmp_path / "checkpoint")
    size = len(json.loads((directory / "vocab.json").read_text()))
    vocabulary = Tokenizer.load(directory).vocabulary
    assert vocabulary["__af__"] == size and vocabulary["__zu__"] == size + 99


def test_marians_language_before_a_text_stays_whole(tmp_path: Path) -> None:
    directory = NUMBERED["Marian, two files"].write(tmp_path / "checkpoint")
    path = directory / "vocab.json"
    ids = json.loads(path.read_text())
    path.write_text(json.dumps({**ids, ">>fra<<": len(ids)}))
    tokenizer = Tokenizer.load(directory)
    plain = tokenizer.encode("The fox")
    assert tokenizer.encode(">>fra<< The fox") == [len(ids), *plain]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"<unk>": None}, "the unk_token '<unk>', for unknown characters, is not in vocab.json"),
        ({"more": 900}, r"vocab.json must number its \d+ tokens from 0 without gaps"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    tmp_path: Path, changes: dict[str, int | None], message: str
) -> None:
    directory = NUMBERED["Marian, two files"].write(tmp_path / "checkpoint")
    path = directory / "vocab.json"
    ids = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({text: i for text, i in ids.items() if i is not None}))
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.load(directory)


def test_a_vocabulary_for_each_language_is_refused(tmp_path: Path) -> None:
    directory = NUMBERED["Marian, two files"].write(tmp_path / "checkpoint")
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "separate_vocabs": True}))
    with pytest.raises(CheckpointError, match="separate_vocabs is not supported"):
        Tokenizer.load(directory)
