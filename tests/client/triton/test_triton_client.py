"""TritonClient against a fake server, over gRPC and over HTTP."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest
from fake_triton import PIECES, REFUSAL, UNPARSED, FakeTriton, fake_grpc, fake_http
from llmasos import FinishReason, SamplingParams, TritonClient, Usage
from llmasos.errors import (
    EngineStoppedError,
    InvalidRequestError,
    RequestTimeoutError,
)
from llmasos.generation.stream import PieceStream
from llmasos.guide import Guide
from llmasos.triton.transport.base import STOP_TIMEOUT_S, Deadline, outputs_of, request_fields
from llmasos.triton.transport.triton_grpc import error_of_call
from llmasos.triton.triton_client import address_of
from patience import PATIENCE_S, wait_until

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
    used = Usage(num_prompt_tokens=2, num_output_tokens=3, num_cached_tokens=1)
    assert pieces[-1].usage == used


def test_a_text_is_the_whole_of_the_stream(client: TritonClient) -> None:
    assert client.generate_text("hello") == TEXT == client.stream("hello").read().text


def test_many_prompts_are_answered_in_order(client: TritonClient, triton: FakeTriton) -> None:
    prompts = [f"prompt {index}" for index in range(70)]
    answers = client.generate(prompts, max_tokens=5)
    assert [answer.text for answer in answers] == [TEXT] * 70
    assert sorted(r["text_input"] for r in triton.asked()) == sorted(prompts)
    assert {r["max_tokens"] for r in triton.asked()} == {5}


def test_a_conversation_is_sent_as_messages(client: TritonClient, triton: FakeTriton) -> None:
    assert client.chat([{"role": "user", "content": "Grüße"}]).text == TEXT
    assert client.stream_chat([{"role": "user", "content": "Grüße"}]).read().text == TEXT
    expected = '[{"role": "user", "content": "Grüße"}]'
    assert [r["messages"] for r in triton.asked()] == [expected, expected]
    assert [r["stream"] for r in triton.asked()] == [False, True]


def test_special_tokens_are_refused_where_a_text_has_its_own(
    client: TritonClient, triton: FakeTriton
) -> None:
    client.generate_text("<s>a", add_special_tokens=False)
    client.stream("<s>b", add_special_tokens=False).read()
    client.generate(["<s>c"], add_special_tokens=False)
    client.generate(["d"])
    asked = [(r["text_input"], r.get("add_special_tokens")) for r in triton.asked()]
    assert asked == [("<s>a", False), ("<s>b", False), ("<s>c", False), ("d", None)]


CHAT_OPTIONS: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "größe"}}],
    "documents": [{"title": "a", "text": "b"}],
    "chat_template_kwargs": {"enable_thinking": False},
    "chat_template": "tool_use",
    "add_generation_prompt": False,
    "continue_final_message": True,
}


def test_what_a_template_gets_is_sent_beside_the_messages(
    client: TritonClient, triton: FakeTriton
) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "user", "name": "Ada", "content": parts}]
    client.chat(messages, max_tokens=5, **CHAT_OPTIONS)
    client.stream_chat(messages, **CHAT_OPTIONS).read()
    client.chat(messages, tools=None)
    *both, bare = triton.asked()
    for request in both:
        assert json.loads(request["messages"]) == messages
        assert "größe" in request["tools"]
        sent = {name: request[name] for name in CHAT_OPTIONS}
        for name in ("tools", "documents", "chat_template_kwargs"):
            sent[name] = json.loads(sent[name])
        assert sent == CHAT_OPTIONS
    assert both[0]["max_tokens"] == 5
    assert not CHAT_OPTIONS.keys() & bare.keys()


def test_options_of_a_chat_that_cannot_be_are_refused_before_they_are_sent(
    client: TritonClient, triton: FakeTriton
) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    for ask in (client.chat, client.stream_chat):
        with pytest.raises(InvalidRequestError, match=r"tools\[0\] must be a JSON object"):
            ask(messages, tools=[print])  # type: ignore[list-item]  # the point of the test
        with pytest.raises(TypeError, match=r"tool$"):
            ask(messages, tool=[])  # type: ignore[call-arg]  # the point of the test
    assert triton.asked() == []


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


def test_no_field_of_sampling_is_lost_on_the_way() -> None:
    """A field that is added to SamplingParams must get a tensor, or be refused by name."""
    sampling: Any = SamplingParams
    others: dict[str, Any] = {
        **{"max_tokens": 7, "min_tokens": 2, "temperature": 0.5, "top_k": 3, "top_p": 0.5},
        **{"min_p": 0.1, "seed": 4, "stop": ("x",), "stop_token_ids": (9,), "ignore_eos": True},
        **{
            "priority": 1,
            "deadline_ms": 9,
            "speculate": False,
            "include_stop_str_in_output": True,
            "open_fields": {"top_p"},
        },
        **{f"{name}_penalty": 0.5 for name in ("repetition", "presence", "frequency")},
        **{"no_repeat_ngram_size": 3, "bad_words": ("x",), "logit_bias": {5: 0.5}},
        **{"logprobs": 0, "n": 2, "guide": Guide.json()},
        **{"logprobs": 0, "n": 2, "top_p_decay": 0.5, "top_p_min": 0.5, "top_p_reset_ids": 0},
        **{f"{kind}_tokens": (3,) for kind in ("suppress", "begin_suppress")},
        "allowed_token_ids": (3,),
        **{"beam_width": 2, "length_penalty": 0.5, "early_stopping": True},
    }
    assert set(others) == {field.name for field in dataclasses.fields(SamplingParams)}
    plain = request_fields({}, params=SamplingParams(), stream=False)
    for name, value in others.items():
        limited = {"max_tokens": 7} if name == "min_tokens" else {}
        asked = request_fields({}, params=sampling(**limited, **{name: value}), stream=False)
        assert asked != plain | limited, name


@pytest.mark.parametrize("with_tokens", [True, False])
def test_log_probabilities_are_requested_where_they_are_asked_for(with_tokens: bool) -> None:
    fields = request_fields({}, params=SamplingParams(logprobs=2), stream=True)
    assert "token_logprobs" in outputs_of(fields, with_tokens=with_tokens)
    plain = request_fields({}, params=SamplingParams(), stream=True)
    assert "token_logprobs" not in outputs_of(plain, with_tokens=with_tokens)


def test_priority_and_deadline_are_sent_where_they_are_said(
    client: TritonClient, triton: FakeTriton
) -> None:
    client.generate_text("hello", priority=-2, deadline_ms=1500, speculate=False)
    client.generate_text("hello")
    said, unsaid = triton.asked()
    assert (said["priority"], said["deadline_ms"], said["speculate"]) == (-2, 1500, False)
    assert not {"priority", "deadline_ms", "speculate"} & unsaid.keys()


def test_what_is_left_out_is_left_to_the_models_generation_config(
    client: TritonClient, triton: FakeTriton
) -> None:
    client.generate_text("hello", temperature=0.5)
    client.generate_text("hello", SamplingParams(temperature=0.5))
    fields, params = triton.asked()
    choices = {"max_tokens", "temperature", "top_k", "top_p", "min_p", "min_tokens"}
    assert choices & fields.keys() == {"temperature"}
    assert fields["use_generation_config"] is True
    assert choices <= params.keys()
    assert "use_generation_config" not in params


def test_tensors_have_the_contracts_types_and_a_batch_of_one() -> None:
    with fake_grpc() as triton, TritonClient(triton.url) as client:
        client.generate_text("hello", seed=1, max_tokens=9, temperature=0.5, stop=["a", "b"])
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
    wait_until(lambda: triton.stops() == [triton.asked()[0]["id"]])


def test_closing_the_client_stops_what_is_running(triton: FakeTriton) -> None:
    with TritonClient(triton.url) as client:
        stream = client.stream("hang")
        next(stream)
    wait_until(lambda: triton.stops() == [triton.asked()[0]["id"]])
    assert list(stream) == []


def test_a_stream_that_ended_is_not_stopped_again(client: TritonClient, triton: FakeTriton) -> None:
    with client.stream("hello") as stream:
        list(stream)
    assert triton.stops() == []


def read_beside(stream: PieceStream) -> tuple[threading.Thread, list[BaseException]]:
    """Read a stream in a thread; what it raises stands in the list."""
    raised: list[BaseException] = []

    def read() -> None:
        try:
            list(stream)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, raised


def test_a_stopped_answer_that_goes_on_is_left_in_time(client: TritonClient) -> None:
    stream = client.stream("drip")
    next(stream)
    started = time.monotonic()
    stream.close()
    assert STOP_TIMEOUT_S <= time.monotonic() - started < PATIENCE_S


@pytest.mark.parametrize("prompt", ["hang", "drip"])
def test_a_stream_can_be_closed_while_another_thread_reads_it(
    client: TritonClient, triton: FakeTriton, prompt: str
) -> None:
    stream = client.stream(prompt)
    next(stream)
    reader, raised = read_beside(stream)
    time.sleep(0.1)
    started = time.monotonic()
    stream.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    assert time.monotonic() - started < PATIENCE_S
    assert [type(error) for error in raised] in ([], [EngineStoppedError])
    wait_until(lambda: triton.stops() == [triton.asked()[0]["id"]])


def test_a_stream_that_does_not_close_leaves_the_others_closed(
    triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TritonClient(triton.url)
    streams = [client.stream("hello") for _ in range(3)]
    for stream in streams:
        next(stream)

    def close(stream: PieceStream) -> None:
        leave(stream)
        if stream is streams[1]:
            raise RuntimeError("not this one")

    leave = PieceStream.close
    monkeypatch.setattr(PieceStream, "close", close)
    with pytest.raises(RuntimeError, match="not this one"):
        client.close()
    wait_until(lambda: sorted(triton.stops()) == sorted(r["id"] for r in triton.asked()))
    assert not client.is_ready()


def test_a_client_may_be_closed_while_others_ask(triton: FakeTriton) -> None:
    client = TritonClient(triton.url)
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            while True:
                client.stream("hello").read()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            raised.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    client.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [type(error) for error in raised] == [EngineStoppedError] * 4


def test_a_closed_client_says_so(triton: FakeTriton) -> None:
    client = TritonClient(triton.url)
    client.close()
    client.close()
    assert not client.is_ready()
    for ask in (client.generate_text, client.stream):
        with pytest.raises(EngineStoppedError, match=r"^the client is closed$"):
            ask("hello")
    assert triton.asked() == []


@pytest.mark.parametrize("prompt", ["cut", "html"])
def test_an_answer_that_is_not_whole_json_is_an_error_that_shows_it(prompt: str) -> None:
    with fake_http() as triton, TritonClient(triton.url) as client:
        for ask in (client.stream, client.generate_text):
            with pytest.raises(EngineStoppedError, match=r"whole|not a whole JSON object"):
                list(ask(prompt))


def test_what_triton_itself_says_is_no_error_of_the_request() -> None:
    with fake_http() as triton, TritonClient(triton.url) as client:
        for ask in (client.stream, client.generate_text):
            with pytest.raises(EngineStoppedError, match=UNPARSED):
                list(ask("misread"))


@pytest.mark.parametrize("prompt", [b"Hi", None, 5, "\ud800", "\udc80"])
def test_a_prompt_that_cannot_be_sent_is_refused_by_name(
    client: TritonClient, triton: FakeTriton, prompt: Any
) -> None:
    for ask in (client.generate_text, client.stream):
        with pytest.raises(InvalidRequestError, match=r"^prompt (must be a str|is not valid)"):
            ask(prompt)
    with pytest.raises(InvalidRequestError, match=r"^prompts\[1\] (must be a str|is not valid)"):
        client.generate(["hello", prompt])
    assert triton.asked() == []


@pytest.mark.parametrize(
    "messages", [None, "Hi", [], [None], [{"role": "user", "content": "\ud800"}]]
)
def test_messages_that_cannot_be_sent_are_refused_by_name(
    client: TritonClient, triton: FakeTriton, messages: Any
) -> None:
    for ask in (client.chat, client.stream_chat):
        with pytest.raises(InvalidRequestError, match=r"^messages"):
            ask(messages)
    assert triton.asked() == []


def test_one_prompt_in_the_place_of_many_is_refused(client: TritonClient) -> None:
    with pytest.raises(InvalidRequestError, match="prompts must be a list of str, got str"):
        client.generate("Hey")


def test_a_stop_string_that_cannot_be_sent_is_refused(client: TritonClient) -> None:
    with pytest.raises(InvalidRequestError, match="stop"):
        client.generate_text("hello", stop="\ud800")


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused_at_once(timeout_s: float) -> None:
    with pytest.raises(InvalidRequestError, match="timeout_s"):
        TritonClient("localhost:8001", timeout_s=timeout_s)


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


def test_what_does_not_speak_http_is_named_and_not_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"\x00\x00\x18\x04\x00\n")
            connection.recv(1 << 16)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            TritonClient(f"http://127.0.0.1:{server.getsockname()[1]}") as client,
            pytest.raises(InvalidRequestError, match=r"does not speak HTTP; .* needs grpc://"),
        ):
            client.generate_text("a", max_tokens=1)
        thread.join()


def test_a_port_that_hangs_up_on_grpc_may_be_the_one_for_http() -> None:
    class HungUp:
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return "failed to connect to all addresses; last error: UNAVAILABLE: Socket closed"

    error = error_of_call(HungUp(), Deadline.after(None))
    assert re.match(r"no server can be reached: .* needs http://", str(error))


def test_an_answer_that_does_not_come_in_time_raises(triton: FakeTriton) -> None:
    with TritonClient(triton.url, timeout_s=0.3) as client:
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError, match="no complete answer within"):
            list(client.stream("hang"))
        assert time.monotonic() - started < PATIENCE_S
        wait_until(lambda: len(triton.stops()) == 1)


def test_is_ready_says_whether_the_model_can_be_asked(client: TritonClient) -> None:
    assert client.is_ready()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_not_there_is_not_ready_and_raises(scheme: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{unused.getsockname()[1]}"
        with TritonClient(url) as client:
            assert not client.is_ready()
            with pytest.raises(EngineStoppedError, match=r"no server can be reached: .*refused"):
                client.generate_text("hello")


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        (SamplingParams(), {}),
        (SamplingParams(ignore_eos=True), {"end_id": -1}),
        (SamplingParams(stop_token_ids=(5, 7)), {"stop_token_ids": [5, 7]}),
        (
            SamplingParams(ignore_eos=True, stop_token_ids=(5, 6)),
            {"end_id": -1, "stop_token_ids": [5, 6]},
        ),
    ],
)
def test_what_ends_the_text_is_sent(
    client: TritonClient, triton: FakeTriton, params: SamplingParams, sent: dict[str, Any]
) -> None:
    client.generate_text("hello", params)
    (asked,) = triton.asked()
    assert {n: asked[n] for n in ("end_id", "stop_token_ids") if n in asked} == sent


@pytest.mark.parametrize(
    "url",
    [
        "ftp://localhost:8001",
        "grpc://",
        "http://localhost:abc",
        "http://local host:80",
        "http://[::1",
        "grpc://[::1",
        "grpc://localhost",
        "grpc://localhost:0",
        "grpc://localhost:65536",
        "http://user@localhost:80",
        "http://localhost:8000/metrics",
        "localhost:80:80",
        "localhost",
        "",
    ],
)
def test_a_url_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"host:port.*got {re.escape(repr(url))}"):
        TritonClient(url)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("localhost:8001", ("localhost:8001", "grpc")),
        ("grpc://[::1]:8001", ("[::1]:8001", "grpc")),
        ("http://127.0.0.1:8000/", ("127.0.0.1:8000", "http")),
        ("HTTP://my-host.example", ("my-host.example", "http")),
    ],
)
def test_a_url_says_address_and_protocol(url: str, address: tuple[str, str]) -> None:
    assert address_of(url, None) == address


def test_a_protocol_that_contradicts_the_url_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="disagree"):
        TritonClient("grpc://localhost:8001", protocol="http")
