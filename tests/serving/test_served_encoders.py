"""Encoders behind a real Triton server give what they give in process, over every protocol."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import needs_torch  # noqa: F401
import numpy as np
import pytest
from encoder_networks import write_encoder, write_modules
from llmasos import LLM, AsyncTritonClient, TritonClient
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.errors import DeadlineExceededError, InvalidRequestError
from llmasos_builder.build import BuildOptions, build
from llmasos_serving.gateway.process import GatewayOptions, GatewayProcess, NamedPlan
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer
from openai import BadRequestError, NotFoundError, OpenAI

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


@pytest.fixture(scope="module")
def gateway(server: TritonServer, embedder: Path) -> Iterator[GatewayProcess]:
    with started(server, embedder) as gateway:
        yield gateway


def started(server: TritonServer, repository: Path) -> GatewayProcess:
    return GatewayProcess(
        GatewayOptions(port=0),
        models=[NamedPlan(plan=repository / PLAN_IN_REPOSITORY)],
        grpc_url=server.grpc_url,
        metrics_url=server.metrics_url,
    )


def posted(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> Any:
    return httpx.post(f"{gateway.url}{path}", json={"model": "checkpoint", **body})


def test_openais_client_gets_vectors(gateway: GatewayProcess, embedder: Path) -> None:
    with LLM(embedder, num_threads=1) as llm:
        expected, short = llm.embed(TEXTS), llm.embed(TEXTS, dimensions=8)
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        made = client.embeddings.create(model="checkpoint", input=TEXTS)  # base64 in between
        plain = client.embeddings.create(
            model="checkpoint", input=TEXTS, encoding_format="float", dimensions=8
        )
        (one,) = client.embeddings.create(model="checkpoint", input=TEXTS[0]).data
        with pytest.raises(BadRequestError, match="input must be text"):
            client.embeddings.create(model="checkpoint", input=[1, 2, 3])
        with pytest.raises(BadRequestError, match="dimensions must be an integer from 1 to 64"):
            client.embeddings.create(model="checkpoint", input="a", dimensions=65)
        with pytest.raises(BadRequestError, match="text 0 has 202 tokens, at most 96 fit"):
            client.embeddings.create(model="checkpoint", input=" ".join(["fox"] * 200))
        with pytest.raises(NotFoundError, match="is not served here"):
            client.embeddings.create(model="other", input="a")
        with pytest.raises(BadRequestError, match="is for models of the task generate"):
            client.completions.create(model="checkpoint", prompt="a")
    assert [x.index for x in made.data] == [0, 1, 2, 3]
    np.testing.assert_allclose([x.embedding for x in made.data], expected, atol=1e-5)
    np.testing.assert_allclose([x.embedding for x in plain.data], short, atol=1e-5)
    np.testing.assert_allclose(one.embedding, expected[0], atol=1e-5)
    assert made.usage.prompt_tokens == made.usage.total_tokens == 6 + 5 + 11 + 2


def test_an_embedder_ranks_and_scores_by_the_cosine(
    gateway: GatewayProcess, embedder: Path
) -> None:
    with LLM(embedder, num_threads=1) as llm:
        vectors = llm.embed(TEXTS)
    cosines = (vectors @ vectors[1]).tolist()
    found = posted(gateway, "/v1/rerank", {"query": TEXTS[1], "documents": TEXTS}).json()
    assert found["results"][0]["index"] == 1
    assert {x["index"]: x["relevance_score"] for x in found["results"]} == pytest.approx(
        dict(enumerate(cosines)), abs=1e-5
    )
    best = posted(
        gateway,
        "/v1/rerank",
        {
            "query": TEXTS[1],
            "documents": [{"text": x} for x in TEXTS],
            "top_n": 1,
            "return_documents": True,
        },
    ).json()["results"]
    assert [one["document"] for one in best] == [{"text": TEXTS[1]}]
    scored = posted(gateway, "/v1/score", {"text_1": TEXTS[1], "text_2": TEXTS}).json()
    assert [x["score"] for x in scored["data"]] == pytest.approx(cosines, abs=1e-5)
    for path, body, said in (
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1 has 2 texts"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/embeddings", {"input": "a", "colour": 1}, "colour"),
    ):
        answer = posted(gateway, path, body)
        assert (answer.status_code, said in answer.text) == (400, True), answer.text


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
                with started(server, built) as gateway:
                    body = {"query": "fox", "documents": TEXTS}
                    ranks = posted(gateway, "/v1/rerank", body).json()["results"]
                assert [x["index"] for x in ranks] == [x.index for x in expected]
            elif suffix == "ForTokenClassification":
                labels = [x.label for x in one.classify_tokens(TEXTS)[0]]
                assert labels == [x.label for x in llm.classify_tokens(TEXTS)[0]]
            else:
                gaps = ["the [MASK]", "[MASK] in [MASK]"]
                found_ids = [[t.token_id for t in g] for x in one.fill_mask(gaps) for g in x]
                assert found_ids == [
                    [t.token_id for t in g] for x in llm.fill_mask(gaps) for g in x
                ]
