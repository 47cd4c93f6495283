"""A body of HTTP that once ended the whole server is refused, and others are served on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from llmasos.triton.triton_client import TritonClient
from llmasos_serving.triton import process_guard
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # as curl -d has it
LONG = json.dumps({"text_input": "word " * 2_000_000, "max_tokens": 1})
BODIES = {
    "a long form": (LONG, FORM),
    "a form of many fields": (json.dumps({"text_input": "a=b&" * 2_000_000}), FORM),
    "lists in lists": ('{"text_input":' + "[" * 1_000_000, {}),
    "objects in objects": ('{"a":' * 300_000 + "1" + "}" * 300_000, {}),
}


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[TritonServer]:
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=600)
    with TritonServer(tiny_repository, options) as server:
        yield server
        server.stop(drain=False)


def address(server: TritonServer) -> tuple[str, int]:
    host, port = server.http_url.removeprefix("http://").split(":")
    return host, int(port)


def is_serving(server: TritonServer) -> bool:
    with TritonClient(server.http_url, timeout_s=60) as client:
        return client.generate(["a"], max_tokens=1)[0].usage.num_output_tokens == 1


@pytest.mark.parametrize("name", BODIES)
def test_a_large_body_is_refused(server: TritonServer, name: str) -> None:
    body, headers = BODIES[name]
    connection = HTTPConnection(*address(server), timeout=60)
    connection.request("POST", "/v2/models/ensemble/generate", body, headers)
    assert connection.getresponse().status in (400, 500)
    connection.close()
    assert is_serving(server)


def test_a_body_in_chunks_of_one_byte_is_refused(server: TritonServer) -> None:
    head = b"POST /v2/models/ensemble/generate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(address(server), timeout=60) as connection:
        connection.sendall(head + b"1\r\na\r\n" * 300_000 + b"0\r\n\r\n")
        assert b" 500 " in connection.recv(200)
    assert is_serving(server)


@pytest.mark.parametrize(("mode", "expected"), [("0", True), ("1", True), ("2", False)])
def test_stacks_are_large_where_address_space_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, expected: bool
) -> None:
    (tmp_path / "overcommit_memory").write_text(f"{mode}\n")
    monkeypatch.setattr(process_guard, "OVERCOMMIT", tmp_path / "overcommit_memory")
    assert process_guard._has_address_space() is expected
