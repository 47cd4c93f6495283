"""The tokenizer and the detokenizer models."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeBackend, FakeError, FakeRequest, FakeResponse, tensor
from llmasos.text.chat_options import ChatOptions
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.triton.abandoned_streams import QUERY
from llmasos_runtime.triton.detokenizer_model import DetokenizerModel
from llmasos_runtime.triton.tokenizer_model import TokenizerModel
from made_tokenizers import KINDS, write_tokenizer
from patience import PATIENCE_S

MESSAGES = '[{"role": "user", "content": "hi"}]'


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.load(tiny_llama)


def encode(tokenizer: Tokenizer, **inputs: Any) -> FakeResponse:
    return answer(tokenizer, FakeRequest({name: tensor(value) for name, value in inputs.items()}))


def answer(tokenizer: Tokenizer, *requests: FakeRequest) -> FakeResponse:
    """The response to the last of these requests."""
    model = TokenizerModel(FakeBackend, tokenizer, max_seq_len=512)
    assert model.execute(requests) == [None] * len(requests)
    model.close()
    assert all(request.sender.final.is_set() for request in requests)
    (response,) = requests[-1].sender.responses
    return response


def refusal(tokenizer: Tokenizer, **inputs: Any) -> str:
    error = encode(tokenizer, **inputs).error
    assert error is not None
    assert error.code == FakeError.INVALID_ARG
    return error.message


def test_text_becomes_ids_and_stop_words_stay_text(tokenizer: Tokenizer) -> None:
    values = encode(tokenizer, text_input="hi ☃", stop_words=["", "Ünd", "."]).values
    ids = values["input_ids"]
    assert tokenizer.decode(ids[0].tolist()) == "hi ☃"
    assert values["input_lengths"].tolist() == [[ids.shape[1]]]
    assert values["stop_text"].tolist() == [["Ünd".encode(), b"."]]
    assert values["from_ensemble"].tolist() == [[True]]


def test_no_stop_words_are_an_empty_list(tokenizer: Tokenizer) -> None:
    assert encode(tokenizer, text_input="a", stop_words=[""]).values["stop_text"].shape == (1, 0)


def test_special_tokens_are_added_to_a_text_unless_it_has_its_own(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path, KINDS["metaspace"]()))
    for inputs, text in (({}, "fox"), ({"add_special_tokens": True}, "fox")):
        ids = encode(tokenizer, text_input=text, **inputs).values["input_ids"][0].tolist()
        assert ids == tokenizer.encode(text) and ids[0] == tokenizer.bos_token_id
    alone = encode(tokenizer, text_input="<s>fox", add_special_tokens=False).values["input_ids"]
    assert alone[0].tolist().count(tokenizer.bos_token_id) == 1


def test_messages_are_rendered_with_the_chat_template(tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": "hi"}]
    for beside in ({}, {"text_input": ""}):
        values = encode(tokenizer, **beside, messages=json.dumps(messages)).values
        assert values["input_ids"][0].tolist() == tokenizer.encode_chat(messages)


def test_a_template_gets_what_is_sent_beside_the_messages(tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    tools, variables = [{"name": "größe"}], {"enable_thinking": False}
    cases: list[dict[str, Any]] = [
        {},
        {"add_generation_prompt": False},
        {"continue_final_message": True},
    ]
    for flags in cases:
        values = encode(
            tokenizer,
            messages=json.dumps(messages),
            tools=json.dumps(tools),
            chat_template_kwargs=json.dumps(variables),
            chat_template="default",
            documents="",
            **flags,
        ).values
        options = ChatOptions(tools=tools, chat_template_kwargs=variables, **flags)
        assert values["input_ids"][0].tolist() == tokenizer.encode_chat(messages, options)
    without = encode(tokenizer, messages=json.dumps(messages), tools="", chat_template="").values
    assert without["input_ids"][0].tolist() == tokenizer.encode_chat(messages)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"messages": MESSAGES, "tools": "[" * 9999}, "tools is not JSON"),
        ({"messages": MESSAGES, "tools": "{}"}, "tools must be a list of objects, got dict"),
        ({"messages": MESSAGES, "tools": "[NaN]"}, "tools[0] must be a JSON object, got float"),
        ({"messages": MESSAGES, "chat_template_kwargs": "[]"}, "chat_template_kwargs must be a"),
        ({"messages": MESSAGES, "chat_template": "x"}, "chat_template must name a template of"),
        ({"messages": MESSAGES, "documents": '[{"text": "x"}]'}, "documents cannot be given: the"),
        ({"messages": MESSAGES, "add_special_tokens": True}, "add_special_tokens is for text_inp"),
        ({"text_input": "a", "tools": "[]"}, "tools needs messages, and none were sent"),
        ({"text_input": "a", "add_generation_prompt": True}, "add_generation_prompt needs mess"),
        (
            {"messages": '[{"role": "user", "content": "\\ud800"}]'},
            "messages[0].content is not",
        ),
        ({"text_input": ""}, "text_input is empty"),
        ({"text_input": b"a\xff\xfe"}, "text_input is not valid UTF-8: byte 1 of 3"),
        ({"max_tokens": 4}, "text_input is missing; send it, or messages"),
        ({"text_input": "a", "messages": "[]"}, "text_input must be left out, or be empty, where"),
        ({"text_input": "", "messages": "{"}, "messages is not JSON"),
        ({"text_input": "", "messages": '"a"'}, "messages must be a JSON list"),
        ({"text_input": "", "messages": "[" * 80_000}, "messages is not JSON"),
        ({"text_input": "a", "stop_words": ["x"] * 10_000}, "stop_words holds 10000 strings"),
        ({"text_input": "a" * 10_000}, "text_input has 10000 bytes, at most 6643 can fit: max_seq"),
        ({"messages": "[" * 100_000}, "messages has 100000 bytes, at most 85465 can fit"),
        ({"text_input": "a", "stop_words": ["x" * 99_999]}, "stop_words holds a string of 99999 b"),
    ],
)
def test_bad_input_is_refused_by_name(
    tokenizer: Tokenizer, inputs: dict[str, Any], message: str
) -> None:
    assert refusal(tokenizer, **inputs).startswith(message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("temperatur", "temperatur is not an input of ensemble; is temperature meant?"),
        ("random_seed", "random_seed is an input of ensemble, and came as a parameter"),
        ("runtime_top_k", "runtime_top_k is not an input of ensemble; it is called top_k here"),
        (
            "draft_input_ids",
            "draft_input_ids is not an input of ensemble; the engine has it",
        ),
        ("top_p", "top_p is an input of ensemble, and came as a parameter"),
    ],
)
def test_a_parameter_that_was_meant_as_an_input_is_refused(
    tokenizer: Tokenizer, name: str, message: str
) -> None:
    request = FakeRequest({"text_input": tensor("a")}, parameters={"id": "7", name: 0.5})
    response = answer(tokenizer, request)
    assert response.error is not None
    assert (response.error.message, response.error.code) == (message, FakeError.INVALID_ARG)


def test_any_other_parameter_passes(tokenizer: Tokenizer) -> None:
    parameters = {"id": "7", "outputs": "text_output,ending", "user": "x", "timeout": 5}
    request = FakeRequest({"text_input": tensor("a")}, parameters=parameters)
    assert answer(tokenizer, request).error is None


def test_one_bad_request_leaves_the_others_of_a_call_alone(tokenizer: Tokenizer) -> None:
    requests = [FakeRequest({"text_input": tensor(text)}) for text in ("a", "", "b")]
    answer(tokenizer, *requests)
    assert [request.sender.responses[0].error is None for request in requests] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("parameters", [{"x": "y" * 20_000}, {f"x{n}": 1 for n in range(200)}])
def test_more_parameters_than_anyone_means_are_refused(
    tokenizer: Tokenizer, parameters: dict[str, object]
) -> None:
    error = answer(tokenizer, FakeRequest({"text_input": tensor("a")}, parameters=parameters)).error
    assert error is not None and "parameters" in error.message and "at most" in error.message


class HeldTokenizer(Tokenizer):
    """Encodes a text of these letters, or a conversation, when it is let."""

    held = threading.Event()

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        if text.startswith("held"):
            assert self.held.wait(PATIENCE_S)
        return super().encode(text, add_special_tokens=add_special_tokens)

    def render_chat(self, *arguments: Any, **options: Any) -> str:
        assert self.held.wait(PATIENCE_S)
        return super().render_chat(*arguments, **options)


def test_a_short_prompt_does_not_wait_for_long_ones_and_for_chats(tiny_llama: Path) -> None:
    model = TokenizerModel(FakeBackend, HeldTokenizer.load(tiny_llama), max_seq_len=1 << 20)
    chat = json.dumps([{"role": "user", "content": "hi"}])
    slow = [{"text_input": tensor("held" * 30_000)}, {"messages": tensor(chat)}] * 8
    waiting = [FakeRequest(inputs) for inputs in slow]
    short = FakeRequest({"text_input": tensor("short")})
    model.execute(waiting)
    model.execute([short])
    assert short.sender.final.wait(PATIENCE_S)
    assert not any(request.sender.responses for request in waiting)
    HeldTokenizer.held.set()
    model.close()
    assert all(len(request.sender.responses) == 1 for request in waiting)


class Letters:
    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


def detokenized(model: DetokenizerModel, *pieces: list[int]) -> list[str]:
    requests = [FakeRequest({"text_piece": tensor(piece)}) for piece in pieces]
    responses = model.execute(requests)
    texts = [r.values["text_output"] for r in responses if isinstance(r, FakeResponse)]
    assert all(text.shape == (1,) for text in texts)
    return [text[0].decode() for text in texts]


def test_a_piece_is_the_new_characters_of_its_decoding() -> None:
    pieces = [[7, 1, 3, *map(ord, "aBC")], [8, 0, 0, 65], [7, 0, 2, 0x1F600, 65]]
    assert detokenized(DetokenizerModel(FakeBackend, Letters()), *pieces) == ["BC", "", "😀A"]


def test_a_detokenizer_says_how_many_pieces_of_each_stream_have_come() -> None:
    model = DetokenizerModel(FakeBackend, Letters())
    detokenized(model, [7, 0, 1, 65], [8, 0, 0, 65], [7, 0, 1, 65])
    assert detokenized(model, [QUERY, 6, 7, 8]) == ["0 2 1"]
    assert detokenized(model, [8, 0, 1, 65], [QUERY, 8]) == ["A", "2"]


def test_one_of_several_detokenizers_cannot_say_it() -> None:
    model = DetokenizerModel(FakeBackend, Letters(), is_alone=False)
    assert detokenized(model, [7, 0, 1, 65], [QUERY, 7]) == ["A", ""]
