"""Prompts that cannot fit are refused by their size, and whatever can fit is not."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos.errors import InvalidRequestError
from llmasos.text.prompt_encoder import LOST_BYTES, PromptEncoder
from llmasos.text.token_sizes import TokenSizes
from llmasos.text.tokenizer import Tokenizer
from made_tokenizers import KINDS, byte_fallback, byte_level
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend


def made(backend: Backend) -> Tokenizer:
    return Tokenizer(backend, config={})


def cut_by_spaces() -> Backend:
    """Byte-level, and its longest token is a run of spaces, as in Llama 3 and Qwen."""
    backend = byte_level()
    backend.add_tokens([AddedToken(" " * 64, normalized=False)])
    return backend


def encoder(backend: Backend, max_seq_len: int = 101) -> PromptEncoder:
    return PromptEncoder(made(backend), max_seq_len=max_seq_len)


def refusal(prompts: PromptEncoder, text: str) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        prompts.encode(text)
    return str(caught.value)


def test_a_text_is_refused_by_its_bytes_and_one_byte_less_is_tokenized() -> None:
    prompts = encoder(cut_by_spaces())
    assert refusal(prompts, " " * 6401) == (
        "the prompt has 6401 bytes, at most 6400 can fit: max_seq_len is 101, and the longest "
        "token has 64 bytes"
    )
    assert len(prompts.encode(" " * 6400)) == 100


class Counting(Tokenizer):
    """num_characters: how many it was given to encode."""

    num_characters = 0

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        self.num_characters += len(text)
        return super().encode(text, add_special_tokens=add_special_tokens)


def test_what_is_too_long_is_not_tokenized_whole() -> None:
    tokenizer = Counting(cut_by_spaces(), config={})
    prompts = PromptEncoder(tokenizer, max_seq_len=101)
    refusal(prompts, "ab " * 1_000_000)
    assert tokenizer.num_characters == 0
    message = refusal(prompts, "ab " * 2000)
    assert message.startswith("the prompt has 6000 bytes, of which the first 1600 characters are ")
    assert tokenizer.num_characters == 1600


def test_bytes_are_counted_and_not_characters() -> None:
    prompts = encoder(byte_level())
    assert prompts.max_bytes == 100 * TokenSizes.of(byte_level()).longest
    assert "bytes, at most" in refusal(prompts, "☃" * (prompts.max_bytes // 3 + 1))


def test_a_text_is_measured_in_the_unicode_form_that_is_tokenized() -> None:
    backend = byte_fallback()
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = None
    longest = "".join(chr(0xAC01 + n) for n in range(0, 280, 28))  # each is three parts of a letter
    backend.add_tokens([AddedToken(longest, normalized=True)])
    prompts = encoder(backend)
    text = unicodedata.normalize("NFD", longest * 100)
    assert len(text.encode()) > 2 * prompts.max_bytes
    assert len(prompts.encode(text)) == 100
    assert "bytes, at most" in refusal(prompts, text + unicodedata.normalize("NFD", longest))


def test_bytes_without_a_token_are_not_counted_but_bounded() -> None:
    vocabulary = {name: i for i, name in enumerate(byte_level().get_vocab()) if name != "ā"}
    backend = Backend(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    prompts = encoder(backend)
    assert TokenSizes.of(backend).unknown == b"\x01"
    assert len(prompts.encode("\x01" * 100_000 + "abc")) == 3
    assert "bytes, at most" in refusal(prompts, "\x01" * 5_000_000)
    assert "bytes, at most" in refusal(prompts, "a" * (prompts.max_bytes + 1))


def swallowing() -> dict[str, Backend]:
    """Tokenizers that lose text, each for a reason of its own."""
    made = {name: byte_level() for name in ("lstrip", "strip", "regex", "removed", "unknown part")}
    made["lstrip"].add_tokens([AddedToken("<x>", lstrip=True)])
    made["strip"].normalizer = normalizers.Strip()
    made["regex"].normalizer = normalizers.Replace(Regex(" +"), " ")
    split = pre_tokenizers.Split(" ", "removed")
    made["removed"].pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel()])
    made["unknown part"].normalizer = normalizers.StripAccents()
    made["fused unknown"] = Backend(models.BPE({"a": 0, "u": 1}, [], unk_token="u", fuse_unk=True))
    return made | {name: KINDS[name]() for name in ("metaspace", "word_piece")}


@pytest.mark.parametrize("name", swallowing())
def test_a_tokenizer_that_loses_text_may_get_far_more_of_it(name: str) -> None:
    backend = swallowing()[name]
    prompts = encoder(backend)
    sizes = TokenSizes.of(backend)
    assert not sizes.loses_nothing
    assert prompts.max_bytes == 100 * sizes.longest + LOST_BYTES
    assert "bytes, at most" in refusal(prompts, " " * (8 * prompts.max_bytes + 1))


def test_spaces_that_a_token_takes_along_are_no_reason_to_refuse() -> None:
    backend = byte_level()
    backend.add_tokens([AddedToken("<x>", lstrip=True, normalized=False)])
    assert len(encoder(backend).encode(" " * 100_000 + "<x>")) == 1


def keeping() -> Sequence[Backend]:
    replaced = byte_level()
    replaced.normalizer = normalizers.Sequence(
        [normalizers.Replace("long word", "w"), normalizers.Lowercase()]
    )
    return byte_level(), byte_fallback(), cut_by_spaces(), replaced


TOKENIZERS = [made(backend) for backend in keeping()]
PARTS = st.sampled_from([" ", " " * 64, "long word", "the", "K", "é", "☃", "😀", "<s>", "\x00"])


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(parts=st.lists(PARTS, max_size=40))
def test_no_text_has_more_bytes_than_its_tokens_can_stand_for(
    tokenizer: Tokenizer, parts: list[str]
) -> None:
    assert tokenizer.token_sizes.loses_nothing
    text = "".join(parts)
    num_tokens = len(tokenizer.encode(text, add_special_tokens=False))
    assert len(text.encode()) <= num_tokens * tokenizer.token_sizes.longest


def test_a_conversation_is_measured_as_its_template_writes_it() -> None:
    config = {"chat_template": "{{ messages[0].content * 1000 }}"}
    prompts = PromptEncoder(Tokenizer(byte_level(), config=config), max_seq_len=101)
    assert prompts.encode_chat([{"role": "user", "content": ""}]) == []
    with pytest.raises(InvalidRequestError, match="the conversation has 20000 bytes, at most"):
        prompts.encode_chat([{"role": "user", "content": "a" * 20}])
