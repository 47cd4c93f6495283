"""What hostile clients send to a real server, by every door; nobody else may notice it."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.triton.triton_client import TritonClient
from llmasos_serving.gateway.process import GatewayOptions, GatewayProcess, NamedPlan
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer
from patience import PATIENCE_S
from tritonclient.grpc import service_pb2, service_pb2_grpc

_messages: Any = service_pb2


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[TritonServer]:
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=600)
    with TritonServer(tiny_repository, options) as server:
        yield server
        server.stop(drain=False)


@pytest.fixture(scope="module")
def gateway(server: TritonServer, tiny_repository: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(
        GatewayOptions(port=0),
        models=[NamedPlan(plan=tiny_repository / PLAN_IN_REPOSITORY)],
        grpc_url=server.grpc_url,
        metrics_url=server.metrics_url,
    ) as gateway:
        yield gateway


@pytest.fixture
def steady(server: TritonServer) -> Iterator[None]:
    """While a test attacks, another client streams; it gets what it gets alone."""
    with TritonClient(server.grpc_url, timeout_s=PATIENCE_S) as client:
        alone = client.generate(["xyz"], max_tokens=300, ignore_eos=True)[0].text
        stream = client.stream("xyz", max_tokens=300, ignore_eos=True)
        first = next(stream)
        yield
        assert first.text + "".join(piece.text for piece in stream) == alone
    assert server.failure is None


def address(gateway: GatewayProcess) -> tuple[str, int]:
    return "127.0.0.1", gateway.port


def post(url: str, body: bytes | str, **headers: str) -> tuple[int, str]:
    """The status and the text of an answer; 0 where the connection is cut."""
    parts = urlsplit(url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_S)
    try:
        content = {"Content-Type": "application/json", **headers}
        connection.request("POST", parts.path, body, content)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (BrokenPipeError, ConnectionResetError):
        return 0, ""
    finally:
        connection.close()


CHAT = {"model": "tiny-llama", "messages": [{"role": "user", "content": "a"}], "max_tokens": 4}
REFUSED: dict[str, dict[str, Any]] = {
    "a schema of an unknown type": {"guided_json": {"type": "foo"}},
    "a schema with a bad pattern": {"guided_json": {"type": "string", "pattern": "(["}},
    "a regular expression that is none": {"guided_regex": "(["},
    "a grammar that is none": {"guided_grammar": "start: ("},
    "too many answers": {"n": 10**9},
    "best_of": {"best_of": 5},
    "a prompt of 20 MB": {"messages": [{"role": "user", "content": "word " * 4_000_000}]},
    "an image of another server": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/"}}],
            }
        ]
    },
    "a template of the client": {"chat_template": "{% for a in range(9**9) %}x{% endfor %}"},
    "tokens beyond INT32": {"max_tokens": 99_999_999_999},
    "100,000 messages": {"messages": [{"role": "user", "content": "a"}] * 100_000},
}


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("name", REFUSED)
def test_the_gateway_refuses_it_by_name(gateway: GatewayProcess, name: str) -> None:
    body = json.dumps({**CHAT, "model": model_of(gateway), **REFUSED[name]})
    status, text = post(f"{gateway.url}/v1/chat/completions", body)
    assert status in (400, 413, 422), text[:300]
    assert json.loads(text)["error"]["message"]


ANSWERED: dict[str, dict[str, Any]] = {
    "a regular expression without an end": {"guided_regex": "(((a{1,9999}){1,9999}){1,9999})"},
    "a schema that refers to itself": {"guided_json": {"$ref": "#"}},
    "a stop string of a megabyte": {"stop": "a" * 1_000_000},
    "every character of Unicode's last plane": {"stop": ["\U0010ffff"] * 4},
}


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("name", ANSWERED)
def test_the_gateway_answers_it_or_refuses_it(gateway: GatewayProcess, name: str) -> None:
    body = json.dumps({**CHAT, "model": model_of(gateway), **ANSWERED[name]})
    status, text = post(f"{gateway.url}/v1/chat/completions", body)
    assert status in (200, 400), text[:300]


def model_of(gateway: GatewayProcess) -> str:
    with urllib.request.urlopen(f"{gateway.url}/v1/models") as response:
        return str(json.load(response)["data"][0]["id"])


@pytest.mark.usefixtures("steady")
def test_an_empty_prompt_ends_nothing(gateway: GatewayProcess) -> None:
    body = json.dumps({"model": model_of(gateway), "prompt": "", "max_tokens": 2})
    status, text = post(f"{gateway.url}/v1/completions", body)
    assert status in (200, 400), text


@pytest.mark.usefixtures("steady")
def test_headers_without_an_end_are_refused(gateway: GatewayProcess) -> None:
    status, _ = post(f"{gateway.url}/v1/completions", "{}", **{"X-Long": "a" * 1_000_000})
    assert status in (0, 400)


@pytest.mark.usefixtures("steady")
def test_chunks_of_one_byte_are_a_body_like_another(gateway: GatewayProcess) -> None:
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(address(gateway), PATIENCE_S) as connection:
        connection.sendall(head + b"1\r\n \r\n" * 50_000 + b"0\r\n\r\n")
        assert b" 400 " in connection.recv(200)


@pytest.mark.usefixtures("steady")
def test_connections_that_send_nothing_hold_up_nobody(gateway: GatewayProcess) -> None:
    idle = [socket.create_connection(address(gateway), PATIENCE_S) for _ in range(200)]
    for one in idle[:100]:
        one.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    assert model_of(gateway)
    for one in idle:
        one.close()


WRITES = {
    "load": ("v2/repository/models/engine/load", {"parameters": {"config": "{}"}}),
    "load a path": ("v2/repository/models/..%2f..%2ftmp/load", {}),
    "unload": ("v2/repository/models/engine/unload", {}),
    "register memory": (
        "v2/systemsharedmemory/region/a/register",
        {"key": "/llmasos", "offset": 0, "byte_size": 4096},
    ),
    "unregister memory": ("v2/systemsharedmemory/unregister", {}),
    "register GPU memory": (
        "v2/cudasharedmemory/region/a/register",
        {"raw_handle": {"b64": "AA=="}, "device_id": 0, "byte_size": 1},
    ),
    "write a log": ("v2/logging", {"log_file": "/tmp/llmasos-written"}),
    "write a trace": ("v2/trace/setting", {"trace_file": "/tmp/llmasos-written"}),
}


@pytest.mark.parametrize("name", WRITES)
def test_triton_writes_nothing_for_http_clients(server: TritonServer, name: str) -> None:
    path, body = WRITES[name]
    status, _ = post(f"{server.http_url}/{path}", json.dumps(body))
    assert 400 <= status < 600
    assert not Path("/tmp/llmasos-written").exists()
    assert server.failure is None


def test_triton_writes_nothing_for_grpc_clients(server: TritonServer) -> None:
    region = _messages.SystemSharedMemoryRegisterRequest(name="a", key="/x", byte_size=4096)
    written = {"log_file": _messages.LogSettingsRequest.SettingValue(string_param="/tmp/x")}
    trace = {"trace_file": _messages.TraceSettingRequest.SettingValue(value=["/tmp/x"])}
    calls = {
        "RepositoryModelLoad": _messages.RepositoryModelLoadRequest(model_name="engine"),
        "RepositoryModelUnload": _messages.RepositoryModelUnloadRequest(model_name="engine"),
        "SystemSharedMemoryRegister": region,
        "SystemSharedMemoryStatus": _messages.SystemSharedMemoryStatusRequest(),
        "LogSettings": _messages.LogSettingsRequest(settings=written),
        "TraceSetting": _messages.TraceSettingRequest(settings=trace),
    }
    with grpc.insecure_channel(server.grpc_url.removeprefix("grpc://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name, request in calls.items():
            with pytest.raises(grpc.RpcError):
                getattr(stub, name)(request, timeout=PATIENCE_S)


@pytest.mark.usefixtures("steady")
def test_a_long_prompt_is_refused_at_tritons_own_doors(server: TritonServer) -> None:
    body = json.dumps({"text_input": "word " * 4_000_000, "max_tokens": 1})
    status, text = post(f"{server.http_url}/v2/models/ensemble/generate", body)
    assert status == 400
    assert "bytes" in text
