"""Several models behind one Triton server answer as each does alone, by name, at every door."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
from encoder_networks import write_encoder, write_modules
from llmasos import LLM, AsyncTritonClient, SamplingParams, TritonClient
from llmasos.errors import InvalidRequestError, LLMasOSError
from llmasos_app.cli.app import app
from llmasos_builder.build import BuildOptions, build
from llmasos_serving.gateway.process import GatewayOptions, GatewayProcess, NamedPlan
from llmasos_serving.triton.models_watch import num_steps
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.repositories.served_models import ServedRepository
from llmasos_serving.triton.server import TritonServer
from openai import NotFoundError, OpenAI
from patience import wait_until
from served import Served
from tiny import write_tiny_gemma2
from typer.testing import CliRunner

OPTIONS = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=0.5)
PARAMS = SamplingParams(max_tokens=24, ignore_eos=True)
PROMPTS = ("abc", "the rain", "x y z")
TEXTS = ["the rain in spain", "a fox jumps"]


@pytest.fixture(scope="module")
def repositories(
    tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """By name. The embedder is first in the server, and no language model."""
    where = tmp_path_factory.mktemp("several")
    options = BuildOptions(precision="f32")
    write_tiny_gemma2(where / "gemma", cap=None)
    write_encoder(where / "bert", "Bert", "Model")
    write_modules(where / "bert", pooling="mean_tokens", prompts={})
    return {
        "vectors": build(where / "bert", where / "vectors", options),
        "llama": tiny_repository,
        "gemma-2.tiny": build(where / "gemma", where / "gemma-built", options),
    }


@pytest.fixture(scope="module")
def alone(repositories: dict[str, Path]) -> dict[str, list[str]]:
    """What each language model answers in this process."""
    found: dict[str, list[str]] = {}
    for name in ("llama", "gemma-2.tiny"):
        with LLM(repositories[name], num_threads=1) as llm:
            found[name] = [llm.generate_text(prompt, PARAMS) for prompt in PROMPTS]
    assert found["llama"] != found["gemma-2.tiny"]
    return found


@pytest.fixture(scope="module")
def server(repositories: dict[str, Path]) -> Iterator[TritonServer]:
    several = [
        ServedRepository(name=name, repository=path, num_threads=1, kv_cache_bytes=number << 20)
        for number, (name, path) in enumerate(repositories.items(), 1)
    ]
    with TritonServer(several, OPTIONS) as server:
        yield server
        assert server.failure is None


@pytest.fixture(scope="module")
def gateway(server: TritonServer) -> Iterator[GatewayProcess]:
    with GatewayProcess(
        GatewayOptions(port=0),
        models=[NamedPlan(plan=model.plan, name=model.name) for model in server.models],
        grpc_url=server.grpc_url,
        metrics_url=server.metrics_url,
    ) as gateway:
        yield gateway


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_each_model_answers_at_the_same_time_as_alone(
    server: TritonServer, alone: dict[str, list[str]], protocol: str
) -> None:
    url = server.grpc_url if protocol == "grpc" else server.http_url
    found: dict[str, list[str]] = {}

    def ask(name: str) -> None:
        with TritonClient(url, model=name, timeout_s=60) as client:
            assert client.is_ready()
            found[name] = [
                "".join(piece.text for piece in client.stream(prompt, PARAMS)) for prompt in PROMPTS
            ]

    threads = [threading.Thread(target=ask, args=(name,)) for name in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_a_client_that_names_nothing_gets_the_first_language_model(
    server: TritonServer, alone: dict[str, list[str]]
) -> None:
    for model in (None, "ensemble", "engine"):
        with TritonClient(server.grpc_url, model=model) as client:
            assert client.generate_text(PROMPTS[0], PARAMS) == alone["llama"][0]
    with urllib.request.urlopen(
        f"{server.http_url}/v2/models/tensorrt_llm_bls/generate",
        json.dumps({"text_input": "abc", "max_tokens": 24, "end_id": -1}).encode(),
    ) as answer:
        assert json.load(answer)["text_output"].endswith(alone["llama"][0])


def test_tasks_of_asyncio_ask_all_models(server: TritonServer, alone: dict[str, list[str]]) -> None:
    async def ask(name: str) -> list[str]:
        async with AsyncTritonClient(server.grpc_url, model=name, timeout_s=60) as client:
            return list(await asyncio.gather(*(client.generate_text(p, PARAMS) for p in PROMPTS)))

    async def ask_all() -> list[list[str]]:
        return list(await asyncio.gather(*map(ask, alone)))

    assert asyncio.run(ask_all()) == list(alone.values())


def test_an_embedder_beside_them_gives_its_vectors(
    server: TritonServer, gateway: GatewayProcess, repositories: dict[str, Path]
) -> None:
    with LLM(repositories["vectors"], num_threads=1) as llm:
        expected = llm.embed(TEXTS)
    for url in (server.grpc_url, server.http_url):
        with TritonClient(url, model="vectors") as client:
            assert client.is_ready()
            np.testing.assert_allclose(client.embed(TEXTS), expected, atol=1e-5)
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as openai:
        got = openai.embeddings.create(model="vectors", input=TEXTS).data
    np.testing.assert_allclose([one.embedding for one in got], expected, atol=1e-5)


def test_a_dropped_stream_ends_in_the_engine_that_computes_it(server: TritonServer) -> None:
    endless = SamplingParams(max_tokens=450, ignore_eos=True)
    with TritonClient(server.grpc_url, model="gemma-2.tiny") as client:
        stream = client.stream("abc", endless)
        next(stream)
        stream.close()

    def is_idle() -> bool:
        page = urllib.request.urlopen(server.metrics_url).read().decode()
        active = [
            line
            for line in page.splitlines()
            if 'model="gemma-2.tiny"' in line and 'request_type="active"' in line
        ]
        return [line.rsplit(" ", 1)[1] for line in active] == ["0"]

    wait_until(is_idle)


def test_metrics_and_memory_are_each_models_own(server: TritonServer) -> None:
    counts = [
        num_steps(server.metrics_url, label=label) for label in ("vectors", "gemma-2.tiny", None)
    ]
    assert None not in counts
    assert num_steps(server.metrics_url, label="another") is None


def test_a_name_that_is_not_served_is_refused_at_every_door(
    server: TritonServer, gateway: GatewayProcess
) -> None:
    for url in (server.grpc_url, server.http_url):
        with TritonClient(url, model="nothing") as client:
            assert not client.is_ready()
            with pytest.raises(LLMasOSError, match="nothing"):
                client.generate_text("abc", PARAMS)
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as openai:
        with pytest.raises(NotFoundError, match=r"'nothing' is not served here.*'gemma-2\.tiny'"):
            openai.completions.create(model="nothing", prompt="abc")
        with pytest.raises(LLMasOSError), TritonClient(server.grpc_url, model="vectors") as client:
            client.generate_text("abc", PARAMS)


def test_the_gateway_lists_and_asks_models_by_name(
    gateway: GatewayProcess, alone: dict[str, list[str]]
) -> None:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as openai:
        names = [model.id for model in openai.models.list().data]
        assert names == ["vectors", "llama", "gemma-2.tiny"]
        for name, expected in alone.items():
            got = openai.completions.create(
                model=name, prompt=PROMPTS[0], max_tokens=24, temperature=0,
                extra_body={"ignore_eos": True},
            )  # fmt: skip
            assert (got.model, got.choices[0].text) == (name, expected[0])


def test_two_models_of_one_name_are_refused(tiny_repository: Path) -> None:
    both = [ServedRepository(repository=tiny_repository)] * 2
    with pytest.raises(InvalidRequestError, match="two models would be served as 'tiny-llama'"):
        TritonServer(both, OPTIONS).start()


def test_the_commands_serve_and_ask_several_and_restart_them_together(
    tiny_repository: Path, alone: dict[str, list[str]], repositories: dict[str, Path]
) -> None:
    served = Served(f"a={tiny_repository}", f"b={repositories['gemma-2.tiny']}")
    try:
        url = served.text.split("ready in ")[1].split(": ")[1].split()[0]
        command = [sys.executable, "-c", "from llmasos_app.cli import main; main()", "generate"]
        for name, expected in (("a", alone["llama"]), ("b", alone["gemma-2.tiny"])):
            options = ["--url", url, "--model", name, "--max-tokens", "24", PROMPTS[0]]
            said = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
            text = said.stdout.removesuffix("\n")
            assert text
            assert expected[0].startswith(text)  # a text that ends by itself is shorter
        (engine,) = [p for p in served.tree() if "/b.engine/1/model.py" in " ".join(p.cmdline())]
        engine.kill()
        wait_until(lambda: served.said("the process of the model b.engine died") is not None)
        wait_until(lambda: served.text.count("ready in ") == 2)
        for name in ("a", "b"):
            assert served.answer(model=name)
    finally:
        served.close()


def test_the_plan_of_several_is_their_sum_and_an_encoder_has_no_cache(
    repositories: dict[str, Path],
) -> None:
    def planned(*names: str) -> Any:
        paths = [str(repositories[name]) for name in names]
        result = CliRunner().invoke(app, ["plan", *paths, "--json", "--memory", "1GB"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    encoder, decoder = planned("vectors"), planned("llama")
    assert encoder["kv_block_bytes"] == 0
    assert encoder["num_sequences"] == {}
    both = planned("vectors", "llama")
    needs = [one["without_kv_cache_bytes"] for one in (encoder, decoder)]
    assert both["without_kv_cache_bytes"] == sum(needs)
    assert both["kv_cache_bytes"][0] == 0
    assert 0 < both["kv_cache_bytes"][1] <= (10**9 - sum(needs)) / 4
    table = CliRunner().invoke(app, ["plan", *map(str, repositories.values())])
    assert "3 models together" in table.output
