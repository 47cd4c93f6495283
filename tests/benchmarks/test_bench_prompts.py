from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.prompts import make_prompts


class Letters:
    """One token for each character, so that any cut gives its ids back."""

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


class Forgetful(Letters):
    """A tokenizer whose decoded text never gives its ids back."""

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).strip() + "!"


def test_prompts_have_the_exact_length_and_their_text_gives_the_ids_back() -> None:
    for prompt in make_prompts(Letters(), count=40, num_tokens=80):
        assert len(prompt.token_ids) == 80
        assert tuple(Letters().encode(prompt.text)) == prompt.token_ids


def test_no_two_prompts_begin_alike() -> None:
    prompts = make_prompts(Letters(), count=64, num_tokens=500)
    assert len({prompt.text[:16] for prompt in prompts}) == 64


def test_a_tokenizer_that_changes_what_it_decoded_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt 0 cannot be cut to 10 tokens"):
        make_prompts(Forgetful(), count=1, num_tokens=10)
