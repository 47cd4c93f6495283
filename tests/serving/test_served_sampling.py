"""What is asked of sampling comes through a real server as in process, by every door."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llmasos.outputs import Generation
from llmasos.triton.async_triton_client import AsyncTritonClient
from llmasos.triton.triton_client import TritonClient
from llmasos_app.async_llm import AsyncLLM
from llmasos_app.llm import LLM
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
from raw_client import RawClient

PROMPT = "Once upon a time there was a number, and the number was"
ASKED: dict[str, Any] = {"max_tokens": 12, "ignore_eos": True, "temperature": 1.0, "seed": 7}
SAYINGS: dict[str, dict[str, Any]] = {
    "several": {"n": 3, "logprobs": 2},
    "logprobs": {"logprobs": 0},
    "lists": {
        "allowed_token_ids": [*range(60, 110)],
        "suppress_tokens": [70],
        "begin_suppress_tokens": [71, 72],
        "top_p": 0.95,
        "top_p_decay": 0.9,
        "top_p_min": 0.5,
        "top_p_reset_ids": 80,
    },
    "beams": {"n": 2, "beam_width": 3, "length_penalty": 0.5, "logprobs": 1, "temperature": 0.0},
    "bans": {"logit_bias": {65: -100.0, 66: 5.0}, "bad_words": ("a", "e"), "logprobs": 1},
}


def asked(saying: str) -> dict[str, Any]:
    return {**ASKED, **SAYINGS[saying]}


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[TritonServer]:
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0)
    with TritonServer(tiny_repository, options) as server:
        yield server
        server.stop(drain=False)


@pytest.fixture(scope="module")
def expected(tiny_repository: Path) -> Iterator[dict[str, Generation]]:
    with LLM(tiny_repository, num_threads=1) as llm:
        yield {name: llm.generate([PROMPT], **asked(name))[0] for name in SAYINGS}


def told(generation: Generation) -> list[Any]:
    """All of an answer; log probabilities to the digits that differ nowhere."""
    return [
        (
            choice.text,
            choice.finish_reason,
            choice.usage.num_output_tokens,
            [one.token_id for one in choice.logprobs],
            [pytest.approx(one.logprob, abs=1e-4) for one in choice.logprobs],
            [[token for token, _ in one.top_logprobs] for one in choice.logprobs],
        )
        for choice in generation.choices
    ]


@pytest.mark.parametrize("saying", SAYINGS)
@pytest.mark.parametrize("model", [None, "ensemble"])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_client_gets_what_the_engine_says(
    server: TritonServer,
    expected: dict[str, Generation],
    saying: str,
    model: str | None,
    scheme: str,
) -> None:
    url = server.grpc_url if scheme == "grpc" else server.http_url
    with TritonClient(url, model=model, timeout_s=60) as client:
        (whole,) = client.generate([PROMPT], **asked(saying))
        with client.stream(PROMPT, **asked(saying)) as stream:
            streamed = stream.read()
    assert told(whole) == told(expected[saying])
    assert told(streamed) == told(expected[saying])


@pytest.mark.parametrize("saying", SAYINGS)
def test_the_doors_of_asyncio_get_the_same(
    server: TritonServer, tiny_repository: Path, expected: dict[str, Generation], saying: str
) -> None:
    async def ask() -> list[Generation]:
        async with AsyncTritonClient(server.grpc_url, timeout_s=60) as client:
            (served,) = await client.generate([PROMPT], **asked(saying))
        async with await AsyncLLM.load(tiny_repository, num_threads=1) as llm:
            (own,) = await llm.generate([PROMPT], **asked(saying))
        return [served, own]

    for generation in asyncio.run(ask()):
        assert told(generation) == told(expected[saying])


@pytest.mark.parametrize("model", ["ensemble", "engine"])
def test_classic_tensors_carry_answers_and_log_probs(server: TritonServer, model: str) -> None:
    with RawClient(server.grpc_url) as raw:
        responses = raw.ask(
            model,
            text_input=PROMPT,
            max_tokens=5,
            temperature=1.0,
            end_id=-1,
            num_return_sequences=2,
            return_log_probs=True,
            exclude_input_in_output=True,
        )
    assert sorted(response["sequence_index"] for response in responses) == [[0], [1]]
    for response in responses:
        assert len(response["output_log_probs"]) == 5
        assert max(response["output_log_probs"]) < 0
        assert response["cum_log_probs"] == [pytest.approx(sum(response["output_log_probs"]))]
