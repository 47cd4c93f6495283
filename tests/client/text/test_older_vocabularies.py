"""Vocabularies without tokenizer.json give the ids of transformers on any text."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hostile_texts import HOSTILE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmasos.errors import CheckpointError
from llmasos.text.tokenizer import Tokenizer
from made_sentencepiece import llama_pieces
from tokenizer_bases import BASES

OLDER = [name for name, base in BASES.items() if base.file is not None or base.two_files]
TEXTS = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8)), max_size=8).map("".join)


@cache
def both(name: str, directory: Path) -> tuple[Tokenizer, Any]:
    import needs_torch  # noqa: F401
    from transformers import AutoTokenizer

    made = BASES[name].write(directory / "checkpoint")
    return Tokenizer.load(made), AutoTokenizer.from_pretrained(made)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tmp_path_factory.mktemp("older") for name in OLDER}


@pytest.mark.parity
@pytest.mark.parametrize("name", OLDER)
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=TEXTS)
def test_any_text_has_the_ids_and_the_text_of_transformers(
    places: dict[str, Path], name: str, text: str
) -> None:
    ours, theirs = both(name, places[name])
    ids = theirs(text)["input_ids"]
    assert ours.encode(text) == ids
    bare = theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.encode(text, add_special_tokens=False) == bare
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids)


def test_a_damaged_sentencepiece_model_is_refused_by_name(tmp_path: Path) -> None:
    whole = llama_pieces()
    directory = BASES["Llama, SentencePiece"].write(tmp_path / "checkpoint")
    for content in (b"", whole[:-9], b"\xff" * 40, b"\x0b" + whole, b"\x08\x01" + whole):
        (directory / "tokenizer.model").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"tokenizer\.model is not a SentencePiece model"):
            Tokenizer.load(directory)


def test_a_word_list_without_its_unknown_token_is_refused(tmp_path: Path) -> None:
    directory = BASES["BERT, word list"].write(tmp_path / "checkpoint")
    (directory / "vocab.txt").write_text("[CLS]\n[SEP]\na\n")
    with pytest.raises(CheckpointError, match=r"the unk_token '\[UNK\]'"):
        Tokenizer.load(directory)


@pytest.mark.parametrize("name", ["T5, SentencePiece", "XLM-R, SentencePiece"])
def test_a_missing_vocabulary_is_named(tmp_path: Path, name: str) -> None:
    directory = BASES[name].write(tmp_path / "checkpoint")
    file = BASES[name].file
    assert file is not None
    (directory / file).unlink()
    with pytest.raises(CheckpointError, match=f"no tokenizer.json, and no {file}"):
        Tokenizer.load(directory)
