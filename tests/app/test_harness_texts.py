"""The harness' texts become tokens with one BOS, and its conversations what their template says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import InvalidRequestError
from llmasos.text.tokenizer import Tokenizer
from llmasos_app.lm_eval_chat import HarnessChat
from llmasos_app.lm_eval_tokens import HarnessTokens
from made_tokenizers import KINDS, byte_level, write_tokenizer

BOS, END = 1, 2
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}{{ m.role }}: {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ mood }}{{ enable_thinking }}{% else %}end{% endif %}"
)


@pytest.fixture(params=["metaspace", "byte_level"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    """The first begins texts with BOS, the second does not."""
    return Tokenizer.load(write_tokenizer(tmp_path, KINDS[request.param]()))


def tokens(tokenizer: Tokenizer, **options: Any) -> HarnessTokens:
    return HarnessTokens(
        tokenizer=tokenizer, **{"add_bos_token": None, "prefix": None, "end": 99, **options}
    )


def test_a_text_that_has_its_bos_gets_no_second_one(tokenizer: Tokenizer) -> None:
    for add_bos_token in (None, True, False):
        made = tokens(tokenizer, add_bos_token=add_bos_token)
        for encode in (made.encode, made.encode_prompt):
            assert encode("<s>The fox").count(BOS) == 1
            assert encode("<s>The fox")[0] == BOS


def test_bos_is_added_as_the_caller_says(tokenizer: Tokenizer) -> None:
    by_itself = tokenizer.encode("fox")[0] == BOS
    for add_bos_token, expected in ((None, by_itself), (True, True), (False, False)):
        made = tokens(tokenizer, add_bos_token=add_bos_token)
        for ids in (made.encode("fox"), made.encode_prompt("fox")):
            assert (ids[0] == BOS) is expected
            assert ids.count(BOS) == int(expected)
        assert BOS not in made.encode("fox", add_special_tokens=False)


def test_the_prefix_is_the_tokenizers_own_bos_or_end(tmp_path: Path) -> None:
    without = Tokenizer.load(write_tokenizer(tmp_path / "a", byte_level(), bos_token=None))
    neither = Tokenizer.load(
        write_tokenizer(tmp_path / "b", byte_level(), bos_token=None, eos_token=None)
    )
    both = Tokenizer.load(write_tokenizer(tmp_path / "c", byte_level()))
    assert [tokens(t).prefix_id for t in (both, without, neither)] == [BOS, END, 99]
    assert tokens(both, prefix=7).prefix_id == 7


def test_a_server_gets_text_that_it_makes_the_same_tokens_of(tokenizer: Tokenizer) -> None:
    for add_bos_token in (None, False):
        made = tokens(tokenizer, add_bos_token=add_bos_token)
        for text in ("The fox", "<s>The fox"):
            ids = made.encode_prompt(text)
            sent, adds = made.as_text(text, ids)
            assert tokenizer.encode(sent, add_special_tokens=adds) == ids
    cut = tokenizer.encode("The quick brown fox", add_special_tokens=False)[-3:]
    sent, adds = tokens(tokenizer).as_text("The quick brown fox", cut)
    assert "The quick brown fox".endswith(sent.strip()) and not adds


def test_a_conversation_gets_the_harness_arguments(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path, byte_level(), chat_template=TEMPLATE))
    for arguments in ('{"mood": "glad"}', {"mood": "glad"}):
        chat = HarnessChat.of(arguments, enable_thinking=False, think_end_token=None)
        assert chat.render(tokenizer, CHAT[1:], add_generation_prompt=True) == (
            "<s>user: HigladFalse"
        )
        assert chat.render(tokenizer, CHAT[1:], add_generation_prompt=False) == "<s>user: Hi"
        assert chat.fingerprint
    plain = HarnessChat.of(None, enable_thinking=None, think_end_token=None)
    assert (plain.fingerprint, plain.thinks) == ("", False)


def test_a_system_message_that_the_template_refuses_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path, byte_level(), chat_template=TEMPLATE))
    chat = HarnessChat()
    with caplog.at_level(logging.WARNING):
        assert chat.render(tokenizer, CHAT, add_generation_prompt=False) == "<s>user: Hi"
    assert "no system role; the system message is left out" in caplog.text
    with pytest.raises(InvalidRequestError, match="no system role"):
        chat.render(tokenizer, CHAT[:1], add_generation_prompt=True)


def test_an_answer_begins_after_the_thoughts() -> None:
    thinking = HarnessChat.of(None, enable_thinking=True, think_end_token="</think>")
    assert thinking.answer("hm</think>\n\nYes") == "Yes"
    assert thinking.answer(" not yet") == "not yet"
    assert HarnessChat().answer(" a</think>b") == " a</think>b"


@pytest.mark.parametrize(
    ("arguments", "thinking", "message"),
    [
        ("{", None, "chat_template_args is not JSON"),
        ("[]", None, "chat_template_args must be a JSON object, got list"),
        ({"tools": 1}, None, "tools must be a list of objects"),
        (None, True, "enable_thinking needs think_end_token"),
    ],
)
def test_arguments_that_cannot_be_are_refused_by_name(
    arguments: Any, thinking: bool | None, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        HarnessChat.of(arguments, enable_thinking=thinking, think_end_token=None)
