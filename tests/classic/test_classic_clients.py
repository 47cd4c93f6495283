"""A real server, asked as clients of the classic `inflight_batcher_llm` repository ask it.

They know nothing of LLMasOS: they use tritonclient and plain HTTP alone, and read shapes, orders
and words as the classic server had them.
"""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from classic_client import PROMPT, engine_inputs, post, stream, text_inputs, text_of
from llmasos.contract import ENGINE_OUTPUTS
from llmasos_serving.triton.launcher import TritonServer
from tritonclient.utils import InferenceServerException

TEXT_MODELS = ("ensemble", "tensorrt_llm_bls")


@pytest.fixture
def server(classic_server: TritonServer) -> TritonServer:
    return classic_server


@pytest.fixture
def client(server: TritonServer) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
        yield client


@pytest.mark.parametrize("model", TEXT_MODELS)
def test_a_text_is_one_element_of_bytes_for_each_row(
    client: grpcclient.InferenceServerClient, model: str
) -> None:
    results = stream(client, model, text_inputs())
    texts = [r.as_numpy("text_output") for r in results]
    assert all(text.shape == (1,) for text in texts if text is not None)
    assert text_of(results)


def test_classic_names_answer_as_ours_do(client: grpcclient.InferenceServerClient) -> None:
    assert text_of(stream(client, "tensorrt_llm_bls", text_inputs())) == text_of(
        stream(client, "ensemble", text_inputs())
    )
    tokens = [
        np.concatenate(
            [r.as_numpy("output_ids")[0, 0] for r in stream(client, model, engine_inputs())]
        ).tolist()
        for model in ("tensorrt_llm", "engine")
    ]
    assert tokens[0] == tokens[1] and len(tokens[0]) == 5 + 8


def test_outputs_come_in_the_classic_order(client: grpcclient.InferenceServerClient) -> None:
    """Of an ensemble, as `tensorrt_llm` is one here, Triton chooses the order."""
    first = stream(client, "engine", engine_inputs())[0].get_response()
    names = [output.name for output in first.outputs]
    assert names[:2] == ["output_ids", "sequence_length"]
    assert names == [t.name for t in ENGINE_OUTPUTS if t.name in names]


@pytest.mark.parametrize("model", ["engine", "tensorrt_llm"])
def test_log_probs_that_nobody_asked_for_are_zeros_of_the_classic_shape(
    client: grpcclient.InferenceServerClient, model: str
) -> None:
    streaming = np.array([[True]])
    for result in stream(client, model, engine_inputs(streaming=streaming)):
        num_tokens = result.as_numpy("output_ids").shape[2]
        assert result.as_numpy("cum_log_probs").tolist() == [[0.0]]
        assert result.as_numpy("output_log_probs").tolist() == [[[0.0] * num_tokens]]


@pytest.mark.parametrize("model", TEXT_MODELS)
def test_older_names_of_inputs_are_known(
    client: grpcclient.InferenceServerClient, model: str
) -> None:
    sampled = {"temperature": np.array([[2.0]], np.float32), "top_k": np.array([[50]], np.int32)}
    texts = {
        name: text_of(stream(client, model, text_inputs(**sampled, **{name: values})))
        for name, values in {
            "seed": np.array([[11]], np.uint64),
            "random_seed": np.array([[11]], np.uint64),
        }.items()
    }
    assert texts["seed"] == texts["random_seed"]
    other = stream(client, model, text_inputs(**sampled, random_seed=np.array([[12]], np.uint64)))
    assert text_of(other) != texts["seed"]
    least = text_inputs(min_length=np.array([[8]], np.int32))
    assert text_of(stream(client, model, least)) == text_of(stream(client, model, text_inputs()))


@pytest.mark.parametrize("model", TEXT_MODELS)
def test_a_top_p_of_0_is_absent(client: grpcclient.InferenceServerClient, model: str) -> None:
    without = text_of(stream(client, model, text_inputs()))
    zero = text_inputs(top_p=np.array([[0.0]], np.float32))
    assert text_of(stream(client, model, zero)) == without


def test_stop_is_answered_with_an_empty_response(
    client: grpcclient.InferenceServerClient,
) -> None:
    for model in ("engine", "tensorrt_llm"):
        inputs = engine_inputs(stop=np.array([[True]]))
        (answer,) = stream(client, model, inputs, request_id="nobody")
        assert answer.as_numpy("output_ids").size == 0


@pytest.mark.parametrize("model", TEXT_MODELS)
def test_generate_and_generate_stream_give_the_text(server: TritonServer, model: str) -> None:
    url = f"{server.http_url}/v2/models/{model}"
    body = {"text_input": PROMPT, "max_tokens": 8, "end_id": -1, "random_seed": 3}
    (whole,) = post(f"{url}/generate", body)
    assert whole["text_output"].startswith(PROMPT)
    pieces = post(f"{url}/generate_stream", {**body, "stream": True})
    assert PROMPT + "".join(piece["text_output"] for piece in pieces) == whole["text_output"]


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm_bls", "tensorrt_llm", "engine"])
def test_models_are_ready_and_describe_themselves(
    client: grpcclient.InferenceServerClient, model: str
) -> None:
    assert client.is_model_ready(model)
    config = client.get_model_config(model).config
    assert config.model_transaction_policy.decoupled or config.platform == "ensemble"
    assert {"text_input", "input_ids"} & {tensor.name for tensor in config.input}


def test_the_repository_index_is_open_and_nothing_in_it_can_be_changed(
    server: TritonServer, client: grpcclient.InferenceServerClient
) -> None:
    index = {model.name: model.state for model in client.get_model_repository_index().models}
    assert {index[name] for name in (*TEXT_MODELS, "tensorrt_llm", "engine")} == {"READY"}
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match=r"not allowed|explicit"):
            change("engine")
    with pytest.raises(InferenceServerException, match="restricted"):
        client.update_log_settings({"log_verbose_level": 1})
    assert client.is_model_ready("engine")


SERIES = {
    "nv_trt_llm_request_metrics": ("active", "max", "scheduled", "context", "waiting"),
    "nv_trt_llm_runtime_memory_metrics": ("cpu", "gpu", "pinned"),
    "nv_trt_llm_kv_cache_block_metrics": ("max", "free", "used", "tokens_per", "fraction"),
    "nv_trt_llm_inflight_batcher_metrics": (
        "total_context_tokens",
        "generation_requests",
        "micro_batch_id",
        "paused_requests",
    ),
    "nv_trt_llm_general_metrics": ("timestamp", "iteration_counter"),
    "nv_trt_llm_disaggregated_serving_metrics": ("kv_cache_transfer_ms", "request_count"),
    "nv_llm_input_token_len_count": ("total_input_tokens",),
    "nv_llm_output_token_len_sum": ("total_output_tokens",),
}


def test_every_classic_metric_is_shown_with_the_classic_label(
    server: TritonServer, client: grpcclient.InferenceServerClient
) -> None:
    stream(client, "tensorrt_llm_bls", text_inputs())
    time.sleep(0.5)  # they are shown five times a second
    with urllib.request.urlopen(server.metrics_url, timeout=60) as page:
        text = page.read().decode()
    for family, kinds in SERIES.items():
        lines = [line for line in text.splitlines() if line.startswith(family + "{")]
        assert all('model="tensorrt_llm"' in line for line in lines)
        assert all(any(f'="{kind}"' in line for line in lines) for kind in kinds), family
    assert re.search(r'nv_llm_output_token_len_bucket{[^}]*le="10"[^}]*} [1-9]', text)
    assert re.search(r'memory_metrics{[^}]*"cpu"[^}]*} [1-9]', text)


def test_an_error_under_a_classic_name_keeps_its_words(
    client: grpcclient.InferenceServerClient,
) -> None:
    wrong = text_inputs(temperature=np.array([[-1.0]], np.float32))
    with pytest.raises(InferenceServerException, match="temperature must be between 0"):
        stream(client, "tensorrt_llm_bls", wrong)
