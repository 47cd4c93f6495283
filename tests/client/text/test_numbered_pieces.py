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
from tokenizer_bases import NUMBERED

# transformers loads SentencePiece's library, which crashes in a process with some others.
THEIRS = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(sys.stdin)
whole = [tokenizer(text)["input_ids"] for text in texts]
bare = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
json.dump([whole, bare, [tokenizer.decode(ids) for ids in bare]], sys.stdout)
"""


def texts(count: int) -> list[str]:
    draw = random.Random(7)
    parts = [text for text in HOSTILE if "\x00" not in text]
    return ["", *("".join(draw.choices(parts, k=draw.randint(1, 6))) for _ in range(count))]


@pytest.mark.parity
@pytest.mark.parametrize("name", sorted(NUMBERED))
def test_any_text_has_the_ids_of_transformers(tmp_path: Path, name: str) -> None:
    import needs_torch  # noqa: F401

    directory = NUMBERED[name].write(tmp_path / "checkpoint")
    given = texts(300)
    found = subprocess.run(
        [sys.executable, "-c", THEIRS, str(directory)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    whole, bare, decoded = json.loads(found.stdout)
    tokenizer = Tokenizer.load(directory)
    assert [tokenizer.encode(text) for text in given] == whole
    assert [tokenizer.encode(text, add_special_tokens=False) for text in given] == bare
    special = tokenizer.special_ids
    plain = [i for i, ids in enumerate(bare) if not special.intersection(ids)]
    assert len(plain) > len(given) // 5
    assert [tokenizer.decode(bare[i]).strip() for i in plain] == [decoded[i] for i in plain]


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
