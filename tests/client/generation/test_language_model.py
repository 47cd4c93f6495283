"""The methods of a language model over a transport that is made for it."""

from __future__ import annotations

import pytest
from fake_transport import FakeTransport, Room
from llmasos import SamplingParams
from llmasos.errors import InvalidRequestError, QueueFullError
from llmasos.generation.language_model import LanguageModel
from llmasos.generation.transport import ChatPrompt, TextPrompt
from llmasos.text.chat_options import ChatOptions

NUMBERS = [str(number) for number in range(9)]
MESSAGES = [{"role": "user", "content": "Hi"}]


def test_no_more_prompts_run_together_than_the_transport_allows() -> None:
    room = Room(max_concurrent=3)
    answers = LanguageModel(FakeTransport(room)).generate(NUMBERS)
    assert [answer.text for answer in answers] == NUMBERS
    assert (room.most, room.num_refused) == (3, 0)


def test_prompts_wait_while_the_queue_is_full_and_are_prepared_once() -> None:
    room = Room(queue_size=2)
    answers = LanguageModel(FakeTransport(room)).generate(NUMBERS)
    assert [answer.text for answer in answers] == NUMBERS
    assert room.num_refused == 7
    assert [p.text for p in room.prepared if isinstance(p, TextPrompt)] == NUMBERS


def test_a_queue_that_others_fill_is_an_error() -> None:
    room = Room(queue_size=1)
    model = LanguageModel(FakeTransport(room))
    with model.stream("of another"), pytest.raises(QueueFullError):
        model.generate(NUMBERS)


@pytest.mark.parametrize("wrong", ["refused", "failing"])
def test_an_error_of_one_prompt_cancels_the_others(wrong: str) -> None:
    room = Room()
    with pytest.raises(InvalidRequestError, match=wrong):
        LanguageModel(FakeTransport(room)).generate([wrong, *NUMBERS, wrong])
    assert not room.running


def test_each_prompt_is_asked_with_its_params() -> None:
    room = Room()
    each = [SamplingParams(top_k=1), SamplingParams(top_k=2)]
    LanguageModel(FakeTransport(room)).generate(["a", "b"], each, add_special_tokens=False)
    assert [request.params for request in room.asked] == each
    assert [r.prompt for r in room.asked] == [
        TextPrompt(text=text, add_special_tokens=False) for text in "ab"
    ]


def test_only_streams_ask_for_pieces() -> None:
    room = Room()
    model = LanguageModel(FakeTransport(room))
    assert model.generate_text("a") == "a"
    model.generate(["b"])
    assert model.stream("c").read().text == "c"
    assert [request.stream for request in room.asked] == [False, False, True]


def test_a_chat_is_asked_with_what_its_template_gets() -> None:
    room = Room()
    model = LanguageModel(FakeTransport(room))
    assert model.chat(MESSAGES, tools=[{"name": "f"}], max_tokens=3).text == "Hi"
    model.stream_chat(MESSAGES, tools=[{"name": "f"}], max_tokens=3).read()
    prompt = ChatPrompt(messages=MESSAGES, options=ChatOptions(tools=[{"name": "f"}]))
    assert [request.prompt for request in room.asked] == [prompt, prompt]
    assert [request.params.max_tokens for request in room.asked] == [3, 3]
    assert [request.stream for request in room.asked] == [False, True]


def test_leaving_its_block_closes_the_transport() -> None:
    room = Room()
    with LanguageModel(FakeTransport(room)) as model:
        assert room.num_closed == 0
        assert model.generate([]) == []
    assert room.num_closed == 1
