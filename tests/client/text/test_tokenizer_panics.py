"""A tokenizer whose pattern backtracks for ever is stopped, and that is an error of one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos.text.rust_panics import panics_as
from llmasos.text.tokenizer import Tokenizer
from tokenizers import models, normalizers, pre_tokenizers


def test_a_pattern_that_backtracks_for_ever_fails_on_that_text_alone(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    pattern = tokenizers.Regex(r"(a+)+$")
    backend.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    with pytest.raises(InvalidRequestError) as caught:
        tokenizer.encode("a" * 2000 + "b")
    assert "this model's tokenizer fails on the text: Onig: Regex search error" in str(caught.value)
    assert str(caught.value).isprintable()
    assert tokenizer.encode("aab") == [0, 0, 1]


def test_a_tokenizer_that_says_it_is_resolved_is_bounded_too(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    backend.normalizer = normalizers.Sequence([normalizers.Replace("a", "aa")] * 11)
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"llmasos_resolved": true}')
    with pytest.raises(CheckpointError, match="normalizer can make a text more than 1024 times"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("error", [KeyError("a"), KeyboardInterrupt(), SystemExit(1)])
def test_what_is_no_panic_stays_what_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)), panics_as(CheckpointError, "it fails"):
        raise error
