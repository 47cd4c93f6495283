"""The whole repository on a real Triton server."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_harness import load_model, request
from llmasos.errors import DeadlineExceededError, InvalidRequestError
from llmasos.outputs import FinishReason
from llmasos.sampling import SamplingParams
from llmasos.text.tokenizer import Tokenizer
from llmasos.triton.triton_client import TritonClient
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
from llmasos_serving.triton.models_watch import num_steps
from patience import PATIENCE_S, wait_until
from raw_client import RawClient, gauge, post, refusal, text_of
from tritonclient.utils import InferenceServerException

DRAFTS = "nv_llmasos_speculation_tokens"
BLOCKS = "nv_trt_llm_kv_cache_block_metrics"
PROMPT = "Grüße 😀 ☃ from"
LONG = 500
NUM_TRIES = 10
"""Of what a short answer can outrun on a busy machine: a quarter of a second for all of it."""


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[TritonServer]:
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0)
    with TritonServer(tiny_repository, options) as server:
        yield server
        server.stop(drain=False)


@pytest.fixture
def client(server: TritonServer) -> Iterator[TritonClient]:
    with TritonClient(server.grpc_url, timeout_s=60) as client:
        yield client


@pytest.fixture
def raw(server: TritonServer) -> Iterator[RawClient]:
    with RawClient(server.grpc_url) as raw:
        yield raw


def used_blocks(server: TritonServer) -> float:
    return gauge(server.metrics_url, BLOCKS, kv_cache_block_type="used")


def steps_when_idle(server: TritonServer) -> float:
    """Steps so far, once nothing runs: the gauges follow every 0.2 s, and now stand still."""
    shown: list[float | None] = []

    def stands_still() -> bool:
        active = gauge(server.metrics_url, "nv_trt_llm_request_metrics", request_type="active")
        shown.append(None if active else num_steps(server.metrics_url))
        time.sleep(0.1)
        return len(shown) > 5 and len({None, *shown[-6:]}) == 2

    wait_until(stands_still)
    assert shown[-1] is not None
    return shown[-1]


def ends_early(server: TritonServer, ask_and_leave: Callable[[], object]) -> bool:
    """Whether the engine takes fewer steps than the whole answer has tokens."""
    before = steps_when_idle(server)
    ask_and_leave()
    return 0 < steps_when_idle(server) - before < LONG


def ask_engine(raw: RawClient, **values: Any) -> list[dict[str, Any]]:
    fields = {"input_ids": [72, 105], "input_lengths": 2, "request_output_len": 4, **values}
    return raw.ask("engine", **fields)


def test_a_stream_and_a_whole_answer_have_the_same_text(client: TritonClient) -> None:
    for prompt in ("a", PROMPT, "The quick brown fox"):
        pieces = list(client.stream(prompt, max_tokens=40))
        whole = client.generate([prompt])
        assert len(pieces) > 1
        assert "".join(piece.text for piece in pieces)[:20] == whole[0].text[:20]
        assert pieces[-1].finish_reason in (FinishReason.LENGTH, FinishReason.STOP)
        assert pieces[-1].usage is not None


def test_http_generate_answers_once(server: TritonServer, client: TritonClient) -> None:
    url = f"{server.http_url}/v2/models/ensemble/generate"
    answer = json.loads(post(url, text_input="a", max_tokens=12, exclude_input_in_output=True))
    assert answer["text_output"] == client.generate_text("a", max_tokens=12)
    assert answer["finish_reason"] in ("length", "stop")
    assert answer["num_input_tokens"] == 1


def test_http_generate_stream_sends_events(server: TritonServer, client: TritonClient) -> None:
    url = f"{server.http_url}/v2/models/ensemble/generate_stream"
    lines = post(url, text_input="a", max_tokens=12, stream=True).splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert "".join(event["text_output"] for event in events) == client.generate_text(
        "a", max_tokens=12
    )
    assert [bool(event["finish_reason"]) for event in events][-1]
    assert not any(event["finish_reason"] for event in events[:-1])


def test_without_stream_there_is_one_response_and_it_holds_the_prompt(raw: RawClient) -> None:
    (response,) = raw.ask("ensemble", text_input=PROMPT, max_tokens=4)
    assert response["text_output"][0].decode().startswith(PROMPT)


def test_a_stream_never_holds_the_prompt(raw: RawClient) -> None:
    responses = raw.ask(
        "ensemble", text_input=PROMPT, max_tokens=4, stream=True, exclude_input_in_output=False
    )
    whole = text_of(raw.ask("ensemble", text_input=PROMPT, max_tokens=4))
    assert PROMPT + text_of(responses) == whole


def test_a_stop_string_ends_the_text_before_it(client: TritonClient) -> None:
    text = client.generate_text("abc", max_tokens=40)
    stop = text[5:8]
    generation = client.stream("abc", max_tokens=40, stop=[stop]).read()
    assert generation.text == text[: text.index(stop)]
    assert (generation.finish_reason, generation.stop_reason) == (FinishReason.STOP, stop)


def test_a_stop_token_ends_the_text_through_every_model(
    raw: RawClient, client: TritonClient, tiny_llama: Path
) -> None:
    ids = Tokenizer.load(tiny_llama).encode("hi")
    prompt = {"input_ids": ids, "input_lengths": len(ids), "end_id": -1}
    (whole,) = ask_engine(raw, **prompt)
    wanted = whole["output_ids"][3]
    (answer,) = ask_engine(raw, **prompt, stop_token_ids=[999, wanted])
    assert answer["stop_reason"] == [str(wanted).encode()]
    params = SamplingParams(max_tokens=4, stop_token_ids=(999, wanted), ignore_eos=True)
    generation = client.stream("hi", params).read()
    assert generation.finish_reason is FinishReason.STOP
    assert generation.stop_reason == str(wanted)


def test_a_stop_word_with_a_special_token_beside_text_is_refused(client: TritonClient) -> None:
    with pytest.raises(InvalidRequestError, match=r"holds the special token '<\|im_end\|>'"):
        client.generate_text("a", max_tokens=4, stop=["<|im_end|>\n"])
    assert client.generate_text("a", max_tokens=1, stop=["<|im_end|>"])


def test_messages_are_a_conversation(client: TritonClient) -> None:
    answer = client.chat([{"role": "user", "content": "hi"}], max_tokens=5)
    assert answer.usage.num_prompt_tokens > 10


def test_a_prompt_of_every_token_that_fits_is_answered(client: TritonClient) -> None:
    answer = client.stream(" a" * 255 + "b", max_tokens=5).read()
    assert (answer.usage.num_prompt_tokens, answer.usage.num_output_tokens) == (511, 1)


def test_token_ids_that_cannot_fit_are_refused_by_their_number(raw: RawClient) -> None:
    with pytest.raises(InferenceServerException, match="the prompt has 1000000 tokens, at most"):
        ask_engine(raw, input_ids=[7] * 1_000_000, input_lengths=1_000_000)


def test_the_engine_takes_token_ids_as_the_classic_one_did(raw: RawClient) -> None:
    (whole,) = ask_engine(raw, end_id=-1)
    assert whole["output_ids"][:2] == [72, 105]
    assert whole["sequence_length"] == [6]
    pieces = ask_engine(raw, streaming=True, end_id=-1, runtime_top_p=0.0)
    assert [i for piece in pieces for i in piece["output_ids"]] == whole["output_ids"][2:]
    (word,) = ask_engine(
        raw, stop_words_list=np.array([[[whole["output_ids"][3]], [1]]], np.int32), end_id=-1
    )
    assert word["finish_reason"] == [b"stop"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text_input": ""}, "text_input is empty"),
        ({"text_input": b"a\xff"}, "text_input is not valid UTF-8"),
        ({"text_input": "a" * 600}, "max_seq_len"),
        ({"text_input": "a" * 8_000_000}, "text_input has 8000000 bytes, at most 6643 can fit"),
        ({"messages": "[" * 8_000_000, "text_input": ""}, "messages has 8000000 bytes, at most"),
        ({"max_tokens": 0}, "max_tokens must be between 1"),
        ({"max_tokens": -1}, "max_tokens must be between 1"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"top_p": 2.0}, "top_p must be"),
        ({"top_k": -1}, "top_k must be"),
        ({"stop_words": ["x"] * 10_000}, "10000 strings, at most"),
        ({"messages": "[1]", "text_input": ""}, "messages"),
        ({"max_tokens": None}, "max_tokens is missing"),
        ({"text_input": None}, "text_input is missing; send it, or messages"),
        ({"beam_width": 65}, "beam_width must be between 1 and 64, got 65"),
        ({"beam_width": 2, "temperature": 0.5}, "temperature must be 0 where beam_width is above"),
        ({"return_context_logits": True}, "return_context_logits is not supported yet"),
        (
            {"repetition_penalty": 0.0},
            "repetition_penalty must be above 0 and at most",
        ),
        ({"presence_penalty": 2.5}, "presence_penalty must be between -2.0 and 2.0, got 2.5"),
        ({"lora_task_id": 1}, "lora_task_id is not supported yet"),
        ({"text_input": np.array([[b"a"], [b"b"]], np.object_)}, "got a batch of 2; send 2"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_input_is_one_clear_error_and_the_server_goes_on(
    raw: RawClient, client: TritonClient, inputs: dict[str, Any], message: str, stream: bool
) -> None:
    asked = {"text_input": "a", "max_tokens": 4, "stream": stream, **inputs}
    fields = {name: value for name, value in asked.items() if value is not None}
    if isinstance(fields.get("text_input"), np.ndarray):
        fields["max_tokens"] = np.array([[4], [4]], np.int32)
        fields["stream"] = np.array([[stream], [stream]])
    with pytest.raises(InferenceServerException) as caught:
        raw.ask("ensemble", **fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert client.is_ready()
    assert client.generate_text("a", max_tokens=1)


def test_neutral_values_of_everything_are_accepted(raw: RawClient) -> None:
    raw.ask(
        "ensemble",
        text_input="a",
        max_tokens=2,
        bad_words=[""],
        stop_words=[""],
        beam_width=1,
        num_return_sequences=1,
        length_penalty=1.0,
        repetition_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        return_log_probs=False,
        return_context_logits=False,
        return_generation_logits=False,
        embedding_bias_words=[""],
        embedding_bias_weights=[0.0],
        guided_decoding_guide="",
    )


def test_a_number_too_large_for_int32_does_not_hurt_the_server(
    server: TritonServer, client: TritonClient
) -> None:
    # Triton wraps 2^40 to 0 before anyone sees it.
    url = f"{server.http_url}/v2/models/ensemble/generate"
    _, message = refusal(url, text_input="a", max_tokens=2**40)
    assert "max_tokens must be between 1" in message
    assert client.generate_text("a", max_tokens=1)


def test_a_chat_needs_no_text_input(server: TritonServer, client: TritonClient) -> None:
    messages = [{"role": "user", "content": "hi"}]
    asked = {"messages": json.dumps(messages), "max_tokens": 5, "exclude_input_in_output": True}
    answer = json.loads(post(f"{server.http_url}/v2/models/ensemble/generate", **asked))
    assert answer["text_output"] == client.chat(messages, max_tokens=5).text


def test_a_chat_template_gets_parts_tools_and_variables_over_http(
    server: TritonServer, client: TritonClient
) -> None:
    parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
    options: Any = {
        "tools": [{"name": "größe"}],
        "chat_template_kwargs": {"enable_thinking": False},
    }
    url = f"{server.http_url}/v2/models/ensemble/generate"
    beside = {"max_tokens": 5, "exclude_input_in_output": True, "return_num_input_tokens": True}
    answers = []
    for content in (parts, "hello"):
        messages = json.dumps([{"role": "user", "content": content}])
        sent = {name: json.dumps(value) for name, value in options.items()}
        asked = {**beside, "messages": messages, "add_generation_prompt": True, **sent}
        answers.append(json.loads(post(url, **asked)))
    read = ("text_output", "num_input_tokens")
    assert [answers[0][name] for name in read] == [answers[1][name] for name in read]
    said = client.chat([{"role": "user", "content": parts}], max_tokens=5, **options)
    assert answers[0]["text_output"] == said.text
    assert answers[0]["num_input_tokens"] == said.usage.num_prompt_tokens
    _, message = refusal(url, messages=messages, max_tokens=5, documents='[{"text": "x"}]')
    assert "documents cannot be given: the model's chat template does not read" in message


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"max_tokens": 4}, "text_input is missing; send it, or messages"),
        ({"prompt": "a", "max_tokens": 4}, "text_input is missing; send it, or messages"),
        ({"text_input": "a"}, "max_tokens is missing"),
    ],
)
@pytest.mark.parametrize("endpoint", ["generate", "generate_stream"])
def test_what_is_missing_over_http_is_named(
    server: TritonServer, endpoint: str, inputs: dict[str, Any], message: str
) -> None:
    status, body = refusal(f"{server.http_url}/v2/models/ensemble/{endpoint}", **inputs)
    assert (status, message in body) == (400, True)


def test_a_misspelt_field_over_http_is_refused_by_name(server: TritonServer) -> None:
    url = f"{server.http_url}/v2/models/ensemble/generate"
    status, message = refusal(url, text_input="a", max_tokens=1, temperatur=0.5)
    assert (status, "temperatur is not an input of ensemble" in message) == (400, True)


def test_guessed_tokens_are_on_the_metrics_page(server: TritonServer, raw: RawClient) -> None:
    def counted() -> list[float]:
        kinds = ("drafted", "accepted")
        return [gauge(server.metrics_url, DRAFTS, speculation_type=kind) for kind in kinds]

    steps_when_idle(server)
    before = counted()
    ended = raw.ask("ensemble", text_input="abcabc" * 9, max_tokens=40, end_id=-1)[-1]
    made = [ended["total_draft_tokens"][0], ended["total_accepted_draft_tokens"][0]]
    assert made[0] > 0
    wait_until(lambda: counted() == [was + more for was, more in zip(before, made, strict=True)])
    with urllib.request.urlopen(server.metrics_url, timeout=10) as page:
        assert f"# TYPE {DRAFTS} counter" in page.read().decode()


def test_leaving_the_engines_stream_ends_its_request_and_frees_its_blocks(
    server: TritonServer,
) -> None:
    def ask_and_leave() -> None:
        with RawClient(server.grpc_url) as raw:
            raw.send(
                "engine",
                input_ids=[72],
                input_lengths=1,
                request_output_len=LONG,
                streaming=True,
                speculate=False,
                end_id=-1,
            )
            next(raw.responses())

    assert any(ends_early(server, ask_and_leave) for _ in range(NUM_TRIES))
    wait_until(lambda: used_blocks(server) == 0)


def test_leaving_the_clients_stream_ends_it_on_the_ensemble(
    server: TritonServer, client: TritonClient
) -> None:
    def ask_and_leave() -> None:
        with client.stream("abc", max_tokens=LONG, ignore_eos=True, speculate=False) as stream:
            next(stream)

    assert any(ends_early(server, ask_and_leave) for _ in range(NUM_TRIES))
    wait_until(lambda: used_blocks(server) == 0)


def test_a_stream_that_was_left_does_not_keep_the_server_from_ending(
    tiny_repository: Path,
) -> None:
    drain_s = int(2 * PATIENCE_S)
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, drain_s=drain_s)
    with TritonServer(tiny_repository, options) as server:
        for url in (server.grpc_url, server.http_url):
            with TritonClient(url, timeout_s=60) as client:
                next(client.stream("abc", max_tokens=LONG, ignore_eos=True))
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE_S


def test_stop_by_request_id_ends_an_ensembles_request(server: TritonServer) -> None:
    def ask_and_stop() -> bytes:
        with RawClient(server.grpc_url) as one, RawClient(server.grpc_url) as other:
            one.send(
                "ensemble", request_id="x", text_input="a", max_tokens=LONG, stream=True, end_id=-1
            )
            answers = one.responses()
            next(answers)
            (answer,) = ask_engine(other, request_id="x", stop=True)
            assert answer["output_ids"] == []
            (reason,) = list(answers)[-1]["finish_reason"]
            return bytes(reason)

    assert any(ask_and_stop() == b"abort" for _ in range(NUM_TRIES))


def test_a_deadline_ends_a_request(server: TritonServer) -> None:
    for url in (server.grpc_url, server.http_url):
        with TritonClient(url) as client:
            for ask in (client.generate_text, lambda *a, **f: client.stream(*a, **f).read()):
                with pytest.raises(DeadlineExceededError, match="deadline_ms of 1 passed"):
                    ask("a", max_tokens=LONG, ignore_eos=True, deadline_ms=1, priority=5)


def test_the_harness_gets_the_same_from_a_server_as_in_process(
    server: TritonServer, tiny_plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_class = load_model(monkeypatch)
    in_process = model_class(str(tiny_plan), threads=1)
    served = model_class(str(tiny_plan), url=server.grpc_url)
    over_http = model_class(str(tiny_plan), url=server.http_url)
    asked = {"until": ["\n"], "max_gen_toks": 5}
    requests = [request(f"Question {number}:", asked) for number in range(12)]
    requests.append(request("x y z " * 200, {"until": [], "max_gen_toks": 3}))  # is cut
    texts = served.generate_until(requests)
    assert len(set(texts)) > 6
    assert texts == in_process.generate_until(requests) == over_http.generate_until(requests)


def test_the_harness_has_many_texts_made_at_once(
    server: TritonServer, tiny_plan: Path, client: TritonClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = load_model(monkeypatch)(str(tiny_plan), url=server.grpc_url)
    prompts = [f"Question {number}:" for number in range(16)]
    answers = client.generate(prompts, SamplingParams(max_tokens=50, speculate=False))
    num_tokens = sum(answer.usage.num_output_tokens for answer in answers)
    requests = [request(prompt, {"max_gen_toks": 50, "until": []}) for prompt in prompts]

    def steps() -> float:
        before = steps_when_idle(server)
        served.generate_until(requests)
        return steps_when_idle(server) - before

    assert any(0 < steps() < num_tokens / 4 for _ in range(NUM_TRIES)), "a step has many of them"


def test_200_clients_at_once_are_all_answered(server: TritonServer, client: TritonClient) -> None:
    expected = client.generate_text("abc", max_tokens=4)
    texts: list[str] = []

    def ask() -> None:
        texts.append(client.generate_text("abc", max_tokens=4))

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [expected] * 200
    wait_until(lambda: used_blocks(server) == 0)


def test_the_dangerous_apis_are_closed(server: TritonServer) -> None:
    for path in ("systemsharedmemory/region/x/register", "trace/setting", "logging"):
        status, _ = refusal(f"{server.http_url}/v2/{path}")
        assert status == 403


def test_the_metrics_say_how_many_steps_were_taken(
    server: TritonServer, client: TritonClient
) -> None:
    before = steps_when_idle(server)
    client.generate_text("abc", max_tokens=20, ignore_eos=True)
    assert steps_when_idle(server) >= before + 20


def test_where_no_server_listens_nothing_says_how_many_steps_were_taken() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert num_steps(f"http://127.0.0.1:{unused.getsockname()[1]}/metrics") is None


def test_the_client_raises_our_errors(client: TritonClient) -> None:
    with pytest.raises(InvalidRequestError, match="max_seq_len"):
        client.generate_text("a" * 600)


def test_the_client_asks_the_engine_for_text(server: TritonServer, client: TritonClient) -> None:
    params = SamplingParams(max_tokens=12, stop=("zz",))
    with TritonClient(server.grpc_url, model="ensemble", timeout_s=60) as by_ensemble:
        (expected,) = by_ensemble.generate([PROMPT], params)
    (answer,) = client.generate([PROMPT], params)
    assert (answer.text, answer.usage) == (expected.text, expected.usage)
    assert len(answer.token_ids) == answer.usage.num_output_tokens == 12
    with TritonClient(server.http_url, timeout_s=60) as by_http:
        assert by_http.generate([PROMPT], params) == [answer]
        pieces = list(by_http.stream(PROMPT, params))
        assert "".join(piece.text for piece in pieces) == answer.text
        assert tuple(i for piece in pieces for i in piece.token_ids) == answer.token_ids


def test_the_engine_answers_curl_with_text_and_nothing_empty(server: TritonServer) -> None:
    url = f"{server.http_url}/v2/models/{{}}/generate"
    body = {"text_input": PROMPT, "max_tokens": 6, "exclude_input_in_output": True}
    answer = json.loads(post(url.format("engine"), **body))
    assert answer["text_output"] == json.loads(post(url.format("ensemble"), **body))["text_output"]
    assert answer["finish_reason"] == "length"
    assert not [name for name, value in answer.items() if value in ("", [])]


def test_a_stream_of_the_engine_whose_client_disconnects_ends(
    server: TritonServer, raw: RawClient
) -> None:
    def ask_and_leave() -> None:
        with RawClient(server.grpc_url) as leaving:
            leaving.send("engine", text_input=PROMPT, max_tokens=LONG, stream=True, end_id=-1)
            next(leaving.responses())

    assert ends_early(server, ask_and_leave)
