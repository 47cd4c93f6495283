"""The classic-named models behave as those of NVIDIA's repository did, where ours do not."""

from __future__ import annotations

import asyncio
import json
import queue
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient
import tritonclient.http as httpclient
from classic_client import PROMPT, engine_inputs, post, prepare, stream, text_inputs, text_of
from llmasos.contract.classic_models import CLASSIC_TEXT_OUTPUTS, CLASSIC_TOKEN_OUTPUTS
from llmasos_serving.triton.launcher import TritonServer
from tritonclient.utils import InferenceServerException

Client = Any  # tritonclient has no types
STREAMING = np.array([[True]])
ONCE = np.array([[False]])
ROWS = ("Hello", "What is machine learning?", "a")


@pytest.fixture
def server(classic_server: TritonServer) -> TritonServer:
    return classic_server


@pytest.fixture
def client(server: TritonServer) -> Iterator[Client]:
    with grpcclient.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
        yield client


def several_rows(*, streams: bool) -> list[grpcclient.InferInput]:
    texts = np.array([[text.encode()] for text in ROWS], object)
    column = np.ones((len(ROWS), 1))
    given = {
        "text_input": texts,
        "max_tokens": (8 * column).astype(np.int32),
        "end_id": (-column).astype(np.int32),
        "stream": column.astype(bool) if streams else np.zeros((len(ROWS), 1), bool),
    }
    return [prepare(name, values) for name, values in given.items()]


def once(**more: Any) -> list[grpcclient.InferInput]:
    return text_inputs(stream=ONCE, **more)


def test_a_unary_call_is_answered_beside_streams_on_one_server(client: Client) -> None:
    streamed = text_of(stream(client, "tensorrt_llm_bls", text_inputs()))
    whole = client.infer("tensorrt_llm_bls_unary", once()).as_numpy("text_output")
    assert whole.shape == (1,)
    assert whole[0].decode() == PROMPT + streamed
    ids = client.infer("tensorrt_llm_unary", engine_inputs())
    (piece,) = stream(client, "tensorrt_llm", engine_inputs())
    assert ids.as_numpy("output_ids").tolist() == piece.as_numpy("output_ids").tolist()
    assert ids.as_numpy("output_ids").shape == (1, 1, 5 + 8)
    assert ids.as_numpy("sequence_length").tolist() == [[5 + 8]]


def test_unary_calls_over_http_and_aio_are_answered_too(server: TritonServer) -> None:
    with grpcclient.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as grpc_client:
        expected = grpc_client.infer("tensorrt_llm_bls_unary", once()).as_numpy("text_output")

    async def ask() -> Any:
        async with aioclient.InferenceServerClient(
            server.grpc_url.removeprefix("grpc://")
        ) as client:
            answers = await asyncio.gather(
                *(client.infer("tensorrt_llm_bls_unary", once()) for _ in range(8))
            )
        return [answer.as_numpy("text_output").tolist() for answer in answers]

    assert asyncio.run(ask()) == [expected.tolist()] * 8
    text = httpclient.InferInput("text_input", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([[PROMPT.encode()]], object))
    length = httpclient.InferInput("max_tokens", [1, 1], "INT32")
    length.set_data_from_numpy(np.array([[8]], np.int32))
    end = httpclient.InferInput("end_id", [1, 1], "INT32")
    end.set_data_from_numpy(np.array([[-1]], np.int32))
    with httpclient.InferenceServerClient(server.http_url.removeprefix("http://")) as client:
        answer = client.infer("tensorrt_llm_bls_unary", [text, length, end])
    assert answer.as_numpy("text_output").tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("tensorrt_llm_bls_unary", text_inputs),
        ("tensorrt_llm_unary", lambda: engine_inputs(streaming=STREAMING)),
    ],
)
def test_a_stream_is_refused_where_answers_are_unary(
    client: Client, model: str, inputs: Callable[[], Any]
) -> None:
    message = "Streaming is only supported if model is deployed using decoupled mode."
    for _ in range(3):
        with pytest.raises(InferenceServerException, match=message):
            client.infer(model, inputs())
    assert client.is_server_live()
    assert client.infer("tensorrt_llm_bls_unary", once()).as_numpy("text_output").size


@pytest.mark.parametrize("model", ["tensorrt_llm_unary", "tensorrt_llm"])
def test_stop_of_an_unknown_request_is_answered_with_nothing(client: Client, model: str) -> None:
    inputs = engine_inputs(stop=np.array([[True]]))
    if model == "tensorrt_llm":
        (answer,) = stream(client, model, inputs, request_id="nobody")
    else:
        answer = client.infer(model, inputs, request_id="nobody")
    assert answer.as_numpy("output_ids").size == 0


def test_temperature_alone_stays_greedy_and_no_seed_is_seed_0(client: Client) -> None:
    hot = {"temperature": np.array([[5.0]], np.float32)}
    greedy = text_of(stream(client, "tensorrt_llm_bls", text_inputs()))
    assert text_of(stream(client, "tensorrt_llm_bls", text_inputs(**hot))) == greedy
    choosing = {**hot, "top_k": np.array([[50]], np.int32)}
    drawn = text_of(stream(client, "tensorrt_llm_bls", text_inputs(**choosing)))
    assert drawn != greedy
    assert text_of(stream(client, "tensorrt_llm_bls", text_inputs(**choosing))) == drawn
    zero = text_inputs(**choosing, random_seed=np.array([[0]], np.uint64))
    assert text_of(stream(client, "ensemble", zero)) == drawn


def test_a_stream_never_holds_the_prompt_and_a_single_answer_does(client: Client) -> None:
    included = {"exclude_input_in_output": np.array([[False]])}
    for model in ("tensorrt_llm_bls", "ensemble"):
        assert not text_of(stream(client, model, text_inputs(**included))).startswith(PROMPT)
        assert text_of(stream(client, model, once())).startswith(PROMPT)
        without = once(exclude_input_in_output=np.array([[True]]))
        assert not text_of(stream(client, model, without)).startswith(PROMPT)


def test_the_text_ends_with_its_stop_word_as_the_request_says(client: Client) -> None:
    text = text_of(stream(client, "tensorrt_llm_bls", text_inputs()))
    word = {"stop_words": np.array([[text[3:5].encode()]], object)}
    end = text.index(text[3:5])
    assert text_of(stream(client, "tensorrt_llm_bls", text_inputs(**word))) == text[: end + 2]
    assert text_of(stream(client, "ensemble", text_inputs(**word))) == text[:end]
    for included, expected in ((True, text[: end + 2]), (False, text[:end])):
        inputs = text_inputs(**word, include_stop_str_in_output=np.array([[included]]))
        for model in ("tensorrt_llm_bls", "ensemble", "engine"):
            assert text_of(stream(client, model, inputs)) == expected


def test_each_row_of_a_request_has_an_answer_with_its_batch_index(client: Client) -> None:
    alone = [
        text_of(
            stream(
                client,
                "tensorrt_llm_bls",
                once(text_input=np.array([[row.encode()]], object)),
            )
        )
        for row in ROWS
    ]
    results = stream(client, "tensorrt_llm_bls", several_rows(streams=False))
    found = {
        result.as_numpy("batch_index").item(): text_of([result])
        for result in results
        if result.as_numpy("text_output") is not None
    }
    assert [found[row] for row in range(len(ROWS))] == alone
    pieces = dict.fromkeys(range(len(ROWS)), "")
    for result in stream(client, "tensorrt_llm_bls", several_rows(streams=True)):
        if result.as_numpy("text_output") is not None:
            pieces[result.as_numpy("batch_index").item()] += text_of([result])
    assert [row + pieces[index] for index, row in enumerate(ROWS)] == alone
    joined = client.infer("tensorrt_llm_bls_unary", several_rows(streams=False))
    assert [text.decode() for text in joined.as_numpy("text_output")] == alone
    assert joined.as_numpy("batch_index").tolist() == [[0], [1], [2]]


def test_what_a_client_must_send_is_required_in_the_configuration(
    client: Client, server: TritonServer
) -> None:
    for model, required in (
        ("tensorrt_llm_bls", {"text_input", "max_tokens"}),
        ("tensorrt_llm", {"input_lengths", "request_output_len"}),
    ):
        config = client.get_model_config(model).config
        assert {tensor.name for tensor in config.input if not tensor.optional} == required
        assert "messages" not in {tensor.name for tensor in config.input}
    url = f"{server.http_url}/v2/models/tensorrt_llm_bls/generate"
    body = json.dumps({"text_input": PROMPT}).encode()
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(urllib.request.Request(url, body), timeout=30)
    assert "max_tokens" in refusal.value.read().decode()


def test_outputs_come_in_the_order_of_the_configuration(client: Client) -> None:
    inputs = engine_inputs(streaming=STREAMING)
    for answer in (
        stream(client, "tensorrt_llm", inputs)[0],
        client.infer("tensorrt_llm_unary", engine_inputs()),
    ):
        names = [output.name for output in answer.get_response().outputs]
        assert names[:2] == ["output_ids", "sequence_length"]
        assert names == [t.name for t in CLASSIC_TOKEN_OUTPUTS if t.name in names]


def test_an_event_holds_what_has_a_value_or_is_listed(server: TritonServer, client: Client) -> None:
    url = f"{server.http_url}/v2/models/tensorrt_llm_bls/generate_stream"
    body = {"text_input": PROMPT, "max_tokens": 8, "end_id": -1, "stream": True}
    declared = {tensor.name for tensor in CLASSIC_TEXT_OUTPUTS}
    for event in post(url, body)[:-1]:
        assert declared & event.keys() == {"text_output"}
    listed = [grpcclient.InferRequestedOutput(n) for n in ("text_output", "cum_log_probs")]
    answer = client.infer("tensorrt_llm_bls_unary", once(), outputs=listed)
    assert answer.as_numpy("cum_log_probs").tolist() == [[0.0]]
    assert {output.name for output in answer.get_response().outputs} == {
        "text_output",
        "cum_log_probs",
    }


def test_an_abandoned_request_is_ended_whatever_its_model(server: TritonServer) -> None:
    many = {"max_tokens": np.array([[400]], np.int32)}
    tokens = {"request_output_len": np.array([[400]], np.int32), "streaming": STREAMING}
    for model, inputs in (
        ("tensorrt_llm_bls", text_inputs(**many)),
        ("tensorrt_llm", engine_inputs(**tokens)),
    ):
        client = grpcclient.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))
        client.start_stream(lambda result, error: None)
        client.async_stream_infer(model, inputs)
        client.stop_stream(cancel_requests=True)
        client.close()
        assert seconds_until_idle(server) < 2


def seconds_until_idle(server: TritonServer) -> float:
    begin = time.monotonic()
    while time.monotonic() < begin + 30:
        with urllib.request.urlopen(server.metrics_url, timeout=30) as page:
            text = page.read().decode()
        (line,) = (x for x in text.splitlines() if 'request_type="active"' in x)
        if float(line.split()[-1]) == 0:
            break
        time.sleep(0.05)
    return time.monotonic() - begin


def test_preprocessing_the_engine_and_postprocessing_make_the_text_that_bls_does(
    client: Client,
) -> None:
    texts = {"QUERY": np.array([[row.encode()] for row in ROWS], object)}
    lengths = {"REQUEST_OUTPUT_LEN": np.full((len(ROWS), 1), 8, np.int32)}
    prompt = client.infer(
        "preprocessing", [prepare(name, values) for name, values in (texts | lengths).items()]
    )
    asked = {
        "input_ids": prompt.as_numpy("INPUT_ID"),
        "input_lengths": prompt.as_numpy("REQUEST_INPUT_LEN"),
        "request_output_len": prompt.as_numpy("REQUEST_OUTPUT_LEN"),
        "stop_words_list": prompt.as_numpy("STOP_WORDS_IDS"),
        "embedding_bias": prompt.as_numpy("EMBEDDING_BIAS"),
        "prompt_table_extra_ids": prompt.as_numpy("OUT_PROMPT_TABLE_EXTRA_IDS"),
        "end_id": np.full((len(ROWS), 1), -1, np.int32),
    }
    answer = client.infer(
        "tensorrt_llm_unary", [prepare(name, values) for name, values in asked.items()]
    )
    tokens = {
        "TOKENS_BATCH": answer.as_numpy("output_ids"),
        "SEQUENCE_LENGTH": answer.as_numpy("sequence_length"),
    }
    made = client.infer(
        "postprocessing", [prepare(name, values) for name, values in tokens.items()]
    ).as_numpy("OUTPUT")
    joined = client.infer("tensorrt_llm_bls_unary", several_rows(streams=False))
    assert made.tolist() == joined.as_numpy("text_output").tolist()


@pytest.mark.parametrize("model", ["tensorrt_llm_bls_unary", "tensorrt_llm_unary"])
def test_many_unary_calls_at_once_are_all_answered(client: Client, model: str) -> None:
    """Triton's process of a model that asks another crashed under them."""
    inputs = once() if "bls" in model else engine_inputs()
    answers: queue.Queue[Any] = queue.Queue()
    for _ in range(200):
        client.async_infer(model, inputs, lambda result, error: answers.put(error))
    assert [answers.get(timeout=60) for _ in range(200)] == [None] * 200
