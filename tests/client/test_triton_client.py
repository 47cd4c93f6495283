"""TritonClient against a fake server, over gRPC and over HTTP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from fake_triton import PIECES, REFUSAL, FakeTriton, fake_grpc, fake_http
from llmasos import FinishReason, SamplingParams, TritonClient, Usage
from llmasos.errors import (
    EngineStoppedError,
    InvalidRequestError,
    RequestTimeoutError,
    UnsupportedFieldError,
)

TEXT = "".join(PIECES)


@pytest.fixture(params=[fake_grpc, fake_http], ids=["grpc", "http"])
def triton(request: pytest.FixtureRequest) -> Iterator[FakeTriton]:
    start: Callable[[], AbstractContextManager[FakeTriton]] = request.param
    with start() as fake:
        yield fake


@pytest.fixture
def client(triton: FakeTriton) -> Iterator[TritonClient]:
    with TritonClient(triton.url) as client:
        yield client


def test_a_stream_brings_each_piece_as_the_server_sent_it(client: TritonClient) -> None:
    pieces = list(client.stream("hello"))
    assert tuple(piece.text for piece in pieces) == PIECES
    assert [piece.finish_reason for piece in pieces] == [None, None, FinishReason.STOP]
    assert pieces[-1].usage == Usage(num_prompt_tokens=2, num_output_tokens=3)


def test_a_text_is_the_whole_of_the_stream(client: TritonClient) -> None:
    assert client.generate_text("hello") == TEXT == client.stream("hello").read().text


def test_many_prompts_are_answered_in_order(client: TritonClient, triton: FakeTriton) -> None:
    prompts = [f"prompt {index}" for index in range(70)]
    answers = client.generate(prompts, SamplingParams(max_tokens=5))
    assert [answer.text for answer in answers] == [TEXT] * 70
    assert sorted(r["text_input"] for r in triton.asked()) == sorted(prompts)
    assert {r["max_tokens"] for r in triton.asked()} == {5}


def test_a_conversation_is_sent_as_messages(client: TritonClient, triton: FakeTriton) -> None:
    assert client.chat([{"role": "user", "content": "Grüße"}]).text == TEXT
    assert client.stream_chat([{"role": "user", "content": "Grüße"}]).read().text == TEXT
    expected = '[{"role": "user", "content": "Grüße"}]'
    assert [r["messages"] for r in triton.asked()] == [expected, expected]
    assert [r["stream"] for r in triton.asked()] == [False, True]


def test_sampling_is_sent_by_the_contracts_names(client: TritonClient, triton: FakeTriton) -> None:
    client.generate_text("hello", temperature=0.5, top_k=7, min_p=0.25, seed=2**63, stop=["a", "b"])
    (request,) = triton.asked()
    sent = {name: request[name] for name in ("temperature", "top_k", "min_p", "seed", "stop_words")}
    assert sent == {
        "temperature": 0.5,
        "top_k": 7,
        "min_p": 0.25,
        "seed": 2**63,
        "stop_words": ["a", "b"],
    }


def test_tensors_have_the_contracts_types_and_a_batch_of_one() -> None:
    with fake_grpc() as triton, TritonClient(triton.url) as client:
        client.generate_text("hello", seed=1, stop=["a", "b"])
        types = triton.asked()[0]["types"]
    assert types["text_input"] == ("BYTES", (1, 1))
    assert types["stop_words"] == ("BYTES", (1, 2))
    assert types["max_tokens"] == ("INT32", (1, 1))
    assert types["temperature"] == ("FP32", (1, 1))
    assert types["seed"] == ("UINT64", (1, 1))
    assert types["stream"] == ("BOOL", (1, 1))


def test_leaving_a_stream_early_stops_the_request_in_the_engine(
    client: TritonClient, triton: FakeTriton
) -> None:
    for _ in client.stream("hang"):
        break
    assert triton.stops() == [triton.asked()[0]["id"]]


def test_closing_the_client_stops_what_is_running(triton: FakeTriton) -> None:
    with TritonClient(triton.url) as client:
        stream = client.stream("hang")
        next(stream)
    assert triton.stops() == [triton.asked()[0]["id"]]
    assert list(stream) == []


def test_a_stream_that_ended_is_not_stopped_again(client: TritonClient, triton: FakeTriton) -> None:
    with client.stream("hello") as stream:
        list(stream)
    assert triton.stops() == []


def test_a_refusal_keeps_the_servers_message(client: TritonClient) -> None:
    for ask in (client.stream, client.generate_text):
        with pytest.raises(InvalidRequestError) as info:
            list(ask("refuse"))
        assert str(info.value) == REFUSAL


def test_a_connection_that_breaks_in_mid_answer_raises(client: TritonClient) -> None:
    stream = client.stream("break")
    assert next(stream).text == PIECES[0]
    with pytest.raises(EngineStoppedError):
        next(stream)


def test_an_answer_that_does_not_come_in_time_raises(triton: FakeTriton) -> None:
    with TritonClient(triton.url, timeout_s=0.3) as client:
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError, match="no whole answer within"):
            list(client.stream("hang"))
        assert time.monotonic() - started < 3
        assert len(triton.stops()) == 1


def test_is_ready_says_whether_the_model_can_be_asked(client: TritonClient) -> None:
    assert client.is_ready()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_not_there_is_not_ready_and_raises(scheme: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{unused.getsockname()[1]}"
        with TritonClient(url) as client:
            assert not client.is_ready()
            with pytest.raises(EngineStoppedError):
                client.generate_text("hello")


@pytest.mark.parametrize(
    ("params", "end_id"),
    [
        (SamplingParams(ignore_eos=True), -1),
        (SamplingParams(ignore_eos=True, stop_token_ids=(5,)), 5),
        (SamplingParams(), None),
    ],
)
def test_end_tokens_are_sent_as_the_contracts_end_id(
    client: TritonClient, triton: FakeTriton, params: SamplingParams, end_id: int | None
) -> None:
    client.generate_text("hello", params)
    assert triton.asked()[0].get("end_id") == end_id


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(stop_token_ids=(5,)),
        SamplingParams(stop_token_ids=(5, 6), ignore_eos=True),
    ],
)
def test_what_the_contract_cannot_say_is_refused_by_name(params: SamplingParams) -> None:
    with (
        TritonClient("localhost:1") as client,
        pytest.raises(UnsupportedFieldError, match="stop_token_ids"),
    ):
        client.generate_text("hello", params)


@pytest.mark.parametrize("url", ["ftp://localhost:8001", "grpc://"])
def test_an_unknown_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="host:port"):
        TritonClient(url)


def test_a_protocol_that_contradicts_the_url_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="disagree"):
        TritonClient("grpc://localhost:8001", protocol="http")
