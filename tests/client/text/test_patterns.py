"""Regular expressions over many words match what a plain choice between them matches."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.text.tokenizer_files.patterns import any_of, other_than
from tokenizers import Regex, pre_tokenizers

WORDS = st.lists(st.text("ab]^-\\日.", min_size=1, max_size=4), min_size=1, max_size=40)


def is_found(pattern: str, text: str) -> bool:
    split = pre_tokenizers.Split(Regex(rf"\A(?:{pattern})\z"), "removed")
    return not split.pre_tokenize_str(text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(words=WORDS, text=st.text("ab]^-\\日.", min_size=1, max_size=4))
def test_a_word_is_found_just_where_it_is_listed(words: list[str], text: str) -> None:
    pattern = any_of(words)
    assert all(is_found(pattern, word) for word in words)
    assert is_found(pattern, text) == (text in words)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(known=st.sets(st.characters(codec="utf-8"), min_size=1, max_size=9), one=st.characters())
def test_other_characters_are_those_not_listed(known: set[str], one: str) -> None:
    if "\ud800" <= one <= "\udfff":
        return
    assert is_found(other_than(known), one) == (one not in known)
    assert not any(is_found(other_than(known), listed) for listed in known)
