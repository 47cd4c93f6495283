"""An encoder-decoder behind a real Triton server translates as it does in process."""

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
import tritonclient.grpc as triton
from classic_client import prepare
from encoder_decoder_networks import write_encoder_decoder
from llmasos import LLM, AsyncTritonClient, TritonClient
from llmasos.errors import InvalidRequestError
from llmasos_builder.build import BuildOptions, build
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

LANGUAGES = ("__en__", "__fr__", "__de__")
TEXTS = ["w5 w6 w7", "w8", "w40 w41 w42 w43 w44 w45 w46", " ".join(f"w{i}" for i in range(4, 50))]
OPTIONS = ServerOptions(
    grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0, num_threads=1
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("served")
    tasks = {"summarization": {"prefix": "w9 ", "max_length": 9, "num_beams": 2}}
    write_encoder_decoder(
        directory / "checkpoint", "m2m_100", languages=LANGUAGES, task_specific_params=tasks
    )
    return build(directory / "checkpoint", directory / "built", BuildOptions(precision="f32"))


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(repository, OPTIONS) as server:
        yield server


@pytest.fixture(scope="module")
def translations(repository: Path) -> dict[str, list[str]]:
    with LLM(repository, num_threads=1) as llm:
        of = {
            target: llm.translate_all(TEXTS, source="en", target=target, max_tokens=12)
            for target in ("fr", "de")
        }
        of["summary"] = llm.summarize_all(TEXTS)
    assert of["fr"] != of["de"]
    return of


@pytest.mark.parametrize("model", [None, "ensemble"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_served_translations_are_those_in_process(
    server: TritonServer, translations: dict[str, list[str]], protocol: str, model: str | None
) -> None:
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with TritonClient(url, model=model) as client:
        for target in ("fr", "de"):
            found = client.translate_all(TEXTS, source="en", target=target, max_tokens=12)
            assert found == translations[target]
        assert client.summarize_all(TEXTS) == translations["summary"]
        with pytest.raises(InvalidRequestError, match="target_language must be one of"):
            client.translate("w5", target="xx")


def test_tasks_of_asyncio_share_the_server(
    server: TritonServer, translations: dict[str, list[str]]
) -> None:
    async def ask() -> Any:
        async with AsyncTritonClient(server.grpc_url) as client:
            return await asyncio.gather(
                *(client.translate(t, source="en", target="fr", max_tokens=12) for t in TEXTS * 5)
            )

    assert asyncio.run(ask()) == translations["fr"] * 5


def test_the_generate_endpoint_takes_languages(
    server: TritonServer, translations: dict[str, list[str]]
) -> None:
    body = {
        "text_input": TEXTS[2],
        "source_language": "en",
        "target_language": "de",
        "max_tokens": 12,
        "exclude_input_in_output": True,
    }
    request = urllib.request.Request(
        f"{server.http_url}/v2/models/ensemble/generate", json.dumps(body).encode()
    )
    with urllib.request.urlopen(request) as answer:
        assert json.loads(answer.read())["text_output"] == translations["de"][2]


def ask(server: TritonServer, model: str, **tensors: Any) -> triton.InferResult:
    with triton.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
        return client.infer(model, [prepare(name, array) for name, array in tensors.items()])


def test_decoder_text_input_begins_the_answer(
    server: TritonServer, translations: dict[str, list[str]]
) -> None:
    """As the classic repository had it; the words of the answer's beginning are not repeated."""
    first, rest = translations["fr"][2].split(" ", 1)
    found = ask(
        server,
        "tensorrt_llm_bls_unary",
        text_input=np.array([[f"__en__ {TEXTS[2]}"]], np.object_),
        decoder_text_input=np.array([[f"__fr__ {first}"]], np.object_),
        max_tokens=np.array([[11]], np.int32),
        exclude_input_in_output=np.array([[True]]),
    )
    assert found.as_numpy("text_output").reshape(-1)[0].decode() == rest


def test_decoder_input_ids_begin_the_answer(
    server: TritonServer, translations: dict[str, list[str]]
) -> None:
    text = [57, *(int(word[1:]) for word in TEXTS[2].split()), 2]
    found = ask(
        server,
        "tensorrt_llm_unary",
        input_ids=np.array([text], np.int32),
        input_lengths=np.array([[len(text)]], np.int32),
        decoder_input_ids=np.array([[2, 58]], np.int32),
        decoder_input_lengths=np.array([[2]], np.int32),
        request_output_len=np.array([[12]], np.int32),
        exclude_input_in_output=np.array([[True]]),
    )
    length = int(found.as_numpy("sequence_length").reshape(-1)[0])
    ids = found.as_numpy("output_ids").reshape(-1)[:length].tolist()
    assert " ".join(f"w{i}" for i in ids if i != 2) == translations["fr"][2]
