"""Encoders behind a real Triton server give what they give in process, over every protocol."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
from encoder_networks import write_encoder, write_modules
from llmasos import LLM, AsyncTritonClient, TritonClient
from llmasos.errors import DeadlineExceededError, InvalidRequestError
from llmasos_builder.build import BuildOptions, build
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

TEXTS = ["the rain in spain", "a fox jumps", "the rain in spain stays mainly on the plain", ""]
OPTIONS = ServerOptions(
    grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0, num_threads=1
)


def repository(directory: Path, suffix: str, **changes: Any) -> Path:
    write_encoder(directory / "checkpoint", "Bert", suffix, **changes)
    if suffix == "Model":
        write_modules(directory / "checkpoint", pooling="mean_tokens", prompts={"query": "the "})
    return build(directory / "checkpoint", directory / "built", BuildOptions(precision="f32"))


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("embedder"), "Model")


@pytest.fixture(scope="module")
def server(embedder: Path) -> Iterator[TritonServer]:
    with TritonServer(embedder, OPTIONS) as server:
        yield server


@pytest.mark.parametrize("model", [None, "ensemble"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_served_vectors_are_those_in_process(
    server: TritonServer, embedder: Path, protocol: str, model: str | None
) -> None:
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with LLM(embedder, num_threads=1) as llm, TritonClient(url, model=model) as client:
        assert client.is_ready()
        for options in ({}, {"dimensions": 8}, {"prompt_name": "query"}, {"prompt": "fox "}):
            expected = llm.embed(TEXTS, **options)
            found = client.embed(TEXTS, **options)
            np.testing.assert_allclose(found, expected, atol=1e-5)
        many = [" ".join(["rain"] * (i % 40)) for i in range(600)]
        np.testing.assert_allclose(client.embed(many), llm.embed(many), atol=1e-5)
        assert client.embed([]).shape[0] == 0


def test_tasks_of_asyncio_share_the_server(server: TritonServer, embedder: Path) -> None:
    async def ask() -> Any:
        async with AsyncTritonClient(server.grpc_url) as client:
            return await asyncio.gather(*(client.embed([text]) for text in TEXTS * 20))

    with LLM(embedder, num_threads=1) as llm:
        expected = llm.embed(TEXTS)
    found = np.concatenate(asyncio.run(ask()))
    np.testing.assert_allclose(found, np.tile(expected, (20, 1)), atol=1e-5)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_is_wrong_is_said_in_the_words_of_the_engine(
    server: TritonServer, protocol: str
) -> None:
    long = " ".join(["fox"] * 200)
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with TritonClient(url) as client:
        assert client.embed([long], truncate=True).shape == (1, 64)
        for call, message in (
            (lambda: client.embed([long]), "text 0 has 202 tokens, at most 96 fit"),
            (lambda: client.embed(["a"], dimensions=0), "dimensions must be an integer from 1 to"),
            (lambda: client.embed(["a"], priority=101), "priority must be an integer from -100"),
            (lambda: client.embed(["a"], prompt_name="x"), "prompt_name 'x' is not one of"),
            (lambda: client.embed(["a\ud800"]), "not valid Unicode"),
            (lambda: client.classify(["a"]), "another task: it has no 'labels'"),
            (lambda: client.fill_mask(["a"]), "another task: .*top_k"),
        ):
            with pytest.raises(InvalidRequestError, match=message):
                call()
        many = [long[:300]] * 256
        with pytest.raises(DeadlineExceededError, match="deadline_ms of 1 passed"):
            client.embed(many, deadline_ms=1, truncate=True)
        assert client.embed(["fox"]).shape == (1, 64)


def test_the_metrics_count_texts_and_tokens(server: TritonServer) -> None:
    def count(kind: str) -> float:
        page = urllib.request.urlopen(server.metrics_url).read().decode()
        (line,) = (x for x in page.splitlines() if f'kind="{kind}"' in x)
        return float(line.rsplit(" ", 1)[1])

    with TritonClient(server.grpc_url) as client:
        client.embed(["fox"])
    assert count("tokens") >= 3 * count("texts") > 0


def test_curl_gets_numbers(server: TritonServer) -> None:
    body = {"inputs": [{"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["fox"]}]}
    url = f"{server.http_url}/v2/models/engine/infer"
    with urllib.request.urlopen(url, json.dumps(body).encode()) as response:
        outputs = {one["name"]: one for one in json.load(response)["outputs"]}
    assert outputs["embeddings"]["shape"] == [1, 64]
    assert outputs["num_input_tokens"]["data"] == [3]


@pytest.mark.parametrize(
    ("suffix", "changes"),
    [
        ("ForSequenceClassification", {"num_labels": 1}),
        ("ForTokenClassification", {"num_labels": 3}),
        ("ForMaskedLM", {}),
    ],
)
def test_every_other_task_is_served_as_in_process(
    tmp_path: Path, suffix: str, changes: dict[str, Any]
) -> None:
    built = repository(tmp_path, suffix, **changes)
    with (
        LLM(built, num_threads=1) as llm,
        TritonServer(built, OPTIONS) as server,
        TritonClient(server.grpc_url) as client,
        TritonClient(server.http_url) as http,
    ):
        for one in (client, http):
            if suffix == "ForSequenceClassification":
                found = one.rerank("fox", TEXTS)
                expected = llm.rerank("fox", TEXTS)
                assert [x.index for x in found] == [x.index for x in expected]
                assert [x.score for x in found] == pytest.approx([x.score for x in expected])
                assert one.classify(["fox"])[0].label == llm.classify(["fox"])[0].label
            elif suffix == "ForTokenClassification":
                labels = [x.label for x in one.classify_tokens(TEXTS)[0]]
                assert labels == [x.label for x in llm.classify_tokens(TEXTS)[0]]
            else:
                gaps = ["the [MASK]", "[MASK] in [MASK]"]
                found_ids = [[t.token_id for t in g] for x in one.fill_mask(gaps) for g in x]
                assert found_ids == [
                    [t.token_id for t in g] for x in llm.fill_mask(gaps) for g in x
                ]
