"""What a client of the classic repository does: tritonclient and plain HTTP, nothing of ours."""

from __future__ import annotations

import json
import queue
import urllib.request
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import np_to_triton_dtype

PROMPT = "What is machine learning?"


def prepare(name: str, values: np.ndarray[Any, Any]) -> grpcclient.InferInput:
    tensor = grpcclient.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor


def text_inputs(**more: np.ndarray[Any, Any]) -> list[grpcclient.InferInput]:
    given: dict[str, np.ndarray[Any, Any]] = {
        "text_input": np.array([[PROMPT.encode()]], object),
        "max_tokens": np.array([[8]], np.int32),
        "stream": np.array([[True]]),
        "end_id": np.array([[-1]], np.int32),
        **more,
    }
    return [prepare(name, values) for name, values in given.items()]


def engine_inputs(**more: np.ndarray[Any, Any]) -> list[grpcclient.InferInput]:
    ids = np.array([[72, 101, 108, 108, 111]], np.int32)
    given: dict[str, np.ndarray[Any, Any]] = {
        "input_ids": ids,
        "input_lengths": np.array([[ids.shape[1]]], np.int32),
        "request_output_len": np.array([[8]], np.int32),
        "end_id": np.array([[-1]], np.int32),
        **more,
    }
    return [prepare(name, values) for name, values in given.items()]


def stream(
    client: grpcclient.InferenceServerClient,
    model: str,
    inputs: list[grpcclient.InferInput],
    request_id: str = "",
) -> list[grpcclient.InferResult]:
    """Every response up to the final flag; raises what the callback was given."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer(
        model, inputs, request_id=request_id, enable_empty_final_response=True
    )
    found = []
    try:
        while True:
            result, error = answers.get(timeout=60)
            if error is not None:
                raise error
            found.append(result)
            if result.get_response().parameters["triton_final_response"].bool_param:
                return found
    finally:
        client.stop_stream()


def text_of(results: list[grpcclient.InferResult]) -> str:
    """As nearly every text client reads it: one element, which is bytes."""
    texts = [result.as_numpy("text_output") for result in results]
    return "".join(text[0].decode() for text in texts if text is not None)


def post(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = answer.read().decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.strip()]
