"""The gateway's process before a real server, asked by OpenAI's own client and by a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.errors import ServerError
from llmasos_serving.gateway.process import GatewayOptions, GatewayProcess, NamedPlan
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
from openai import BadRequestError, NotFoundError, OpenAI
from patience import wait_until
from raw_client import gauge

QUESTION = "Tell me: what is this? "


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[TritonServer]:
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0)
    with TritonServer(tiny_repository, options) as server:
        yield server
        server.stop(drain=False)


def started(server: TritonServer, repository: Path, *keys: str, **options: Any) -> GatewayProcess:
    return GatewayProcess(
        GatewayOptions(port=0, api_keys=keys, **options),
        models=[NamedPlan(plan=repository / PLAN_IN_REPOSITORY)],
        grpc_url=server.grpc_url,
        metrics_url=server.metrics_url,
    )


@pytest.fixture(scope="module")
def gateway(server: TritonServer, tiny_repository: Path) -> Iterator[GatewayProcess]:
    with started(server, tiny_repository) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def chat(client: OpenAI) -> Any:
    """Its method, of which types know every combination of fields and no dictionary of them."""
    return client.chat.completions.create


@pytest.fixture(scope="module")
def model(client: OpenAI) -> str:
    (found,) = client.models.list().data
    return found.id


def test_openais_client_reads_whole_answers_and_streams_of_the_same_text(
    client: OpenAI, model: str
) -> None:
    asked: dict[str, Any] = {"model": model, "extra_body": {"ignore_eos": True}}
    asked["messages"] = [{"role": "user", "content": QUESTION}]
    whole = chat(client)(**asked, max_tokens=24, seed=1)
    stream = chat(client)(
        **asked, max_tokens=24, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert whole.usage.completion_tokens == 24
    assert whole.choices[0].finish_reason == "length"


def test_openais_client_completes_text(client: OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt=["ab", "cd"], max_tokens=5, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text == answer.choices[1].text, "it is greedy"
    pieces = client.completions.create(model=model, prompt="ab", max_tokens=5, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == answer.choices[0].text


def test_an_answer_has_the_form_that_is_asked_for(client: OpenAI, model: str) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"enum": ["x", "y"]}},
        "required": ["a"],
    }
    asked = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
    schema["additionalProperties"] = False
    form: dict[str, Any] = {"type": "json_schema"}
    form["json_schema"] = {"name": "t", "schema": schema}
    answer = chat(client)(**asked, response_format=form, max_tokens=100)
    assert json.loads(answer.choices[0].message.content)["a"] in ("x", "y")
    chosen = chat(client)(**asked, extra_body={"guided_choice": ["red", "blue"]})
    assert chosen.choices[0].message.content in ("red", "blue")
    with pytest.raises(BadRequestError, match="the guide of kind json_schema cannot be used"):
        form["json_schema"]["schema"] = {"type": "foo"}
        chat(client)(**asked, response_format=form)


def test_openais_client_gets_its_own_errors(client: OpenAI, model: str) -> None:
    asked = {"messages": [{"role": "user", "content": "x " * 5000}]}
    for stream in (False, True):
        with pytest.raises(BadRequestError) as caught:
            chat(client)(model=model, stream=stream, **asked)
        assert caught.value.code == "context_length_exceeded"
    with pytest.raises(NotFoundError):
        chat(client)(model="other", **asked)


def test_a_stream_that_is_left_ends_in_the_engine(
    client: OpenAI, model: str, server: TritonServer
) -> None:
    stream = client.completions.create(
        model=model, prompt="a", max_tokens=500, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()

    def is_idle() -> bool:
        shown = gauge(server.metrics_url, "nv_trt_llm_request_metrics", request_type="active")
        return shown == 0

    wait_until(is_idle)


def test_metrics_are_tritons(gateway: GatewayProcess) -> None:
    with urllib.request.urlopen(f"{gateway.url}/metrics") as response:
        assert "nv_trt_llm_request_metrics" in response.read().decode()


def test_a_gateway_with_a_key_asks_for_it(server: TritonServer, tiny_repository: Path) -> None:
    with started(server, tiny_repository, "secret") as gateway:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{gateway.url}/v1/models")
        with caught.value as error:
            assert error.code == 401
            assert json.load(error)["error"]["code"] == "invalid_api_key"
        command = Path(f"/proc/{gateway.pid}/cmdline").read_text()
        assert "secret" not in command


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_gateway_with_a_certificate_speaks_https_alone(
    server: TritonServer, tiny_repository: Path, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(["openssl", *made, *files], check=True, capture_output=True)
    options = {"tls_certificate": certificate, "tls_key": key}
    with started(server, tiny_repository, **options) as gateway:
        assert gateway.url.startswith("https://")
        known = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(f"{gateway.url}/v1/models", context=known) as response:
            assert response.status == 200
        with pytest.raises(OSError):
            urllib.request.urlopen(gateway.url.replace("https", "http") + "/v1/models")


def test_a_gateway_that_dies_is_noticed(server: TritonServer, tiny_repository: Path) -> None:
    with started(server, tiny_repository) as gateway:
        assert gateway.failure() is None
        os.kill(gateway.pid, signal.SIGKILL)
        wait_until(lambda: gateway.failure() is not None)
        assert "ended with status -9" in str(gateway.failure())


def test_a_port_in_use_is_refused_before_anything_starts(
    gateway: GatewayProcess, tiny_repository: Path
) -> None:
    port = int(gateway.url.rpartition(":")[2])
    with pytest.raises(ServerError, match=f"openai_port {port} cannot be had"):
        GatewayProcess(
            GatewayOptions(port=port),
            models=[NamedPlan(plan=tiny_repository)],
            grpc_url="",
            metrics_url="",
        )


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")
def test_the_page_streams_an_answer_and_shows_no_html_of_it(
    gateway: GatewayProcess, model: str, tmp_path: Path
) -> None:
    with Browser(tmp_path) as browser:
        browser.resize(1000, 700)
        browser.open(f"{gateway.url}/")
        browser.wait_for(f"document.getElementById('model').textContent === {model!r}")
        browser.run("document.getElementById('max_tokens').value = 20")
        browser.run("document.getElementById('prompt').focus()")
        browser.type("Hello **you**")
        browser.press("Enter")
        browser.wait_for("document.querySelector('.facts button') !== null")
        facts = browser.run("document.querySelector('.assistant .facts').textContent")
        assert "20 tokens" in facts
        assert "tokens/s" in facts
        assert browser.run("document.querySelector('.user .text').textContent") == "Hello **you**"
        first = browser.run("document.querySelector('.assistant .text').textContent")
        browser.run("document.querySelector('.facts button').click()")
        browser.wait_for("document.querySelector('.assistant .facts button') !== null")
        assert browser.run("document.querySelector('.assistant .text').textContent") == first
        attack = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) **b** `<i>`"
        browser.run(
            "import('/page/markdown.js').then(m => "
            f"m.render(document.querySelector('.assistant .text'), {attack!r}))"
        )
        shown = browser.run("document.querySelector('.assistant .text').innerHTML")
        assert "<img" not in shown
        assert "href" not in shown
        assert "<strong>b</strong>" in shown
        assert "<code>&lt;i&gt;</code>" in shown
        assert browser.screenshot()[:4] == b"\x89PNG"
        assert not browser.errors
        browser.resize(360, 640, dark=True)
        assert browser.run("document.documentElement.scrollWidth <= 360"), "it fits on a phone"


def test_langchains_chat_model_answers_streams_and_keeps_to_a_schema(
    gateway: GatewayProcess, model: str
) -> None:
    chat_model = pytest.importorskip("langchain_openai").ChatOpenAI
    asked: dict[str, Any] = {"max_tokens": 24, "temperature": 0, "seed": 1}
    chain = chat_model(model=model, base_url=f"{gateway.url}/v1", api_key="none", **asked)
    whole = chain.invoke(QUESTION)
    assert whole.content
    assert whole.usage_metadata["output_tokens"] <= 24
    assert whole.response_metadata["finish_reason"] in ("stop", "length")
    pieces = list(chain.stream(QUESTION))
    assert "".join(piece.content for piece in pieces) == whole.content
    schema = {
        "title": "colour",
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    typed = chat_model(
        model=model, base_url=f"{gateway.url}/v1", api_key="none", max_tokens=100
    ).with_structured_output(schema, method="json_schema")
    assert typed.invoke(QUESTION)["colour"] in ("red", "blue")


def test_the_chat_model_of_llama_index_answers_and_streams(
    gateway: GatewayProcess, model: str
) -> None:
    chat_message = pytest.importorskip("llama_index.core.llms").ChatMessage
    llm = pytest.importorskip("llama_index.llms.openai_like").OpenAILike(
        model=model,
        api_base=f"{gateway.url}/v1",
        api_key="none",
        is_chat_model=True,
        max_tokens=24,
        temperature=0,
    )
    messages = [chat_message(role="user", content=QUESTION)]
    whole = llm.chat(messages).message.content
    assert whole
    pieces = [piece.delta for piece in llm.stream_chat(messages)]
    assert "".join(piece or "" for piece in pieces) == whole
    assert llm.complete("abc").text
