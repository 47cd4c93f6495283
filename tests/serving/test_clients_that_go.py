"""Clients of the ensemble that go away, on a real server whose steps take a while."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from llmasos.outputs import FinishReason
from llmasos.triton.triton_client import TritonClient
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
from llmasos_serving.triton.models_watch import num_steps
from patience import PATIENCE_S, wait_until
from raw_client import RawClient, gauge

LONG = 450
SLOWLY = """
import time
from llmasos_runtime.openvino.openvino_runner import OpenVINORunner
wait = OpenVINORunner.wait
def wait_longer(runner):
    time.sleep(0.02)
    return wait(runner)
OpenVINORunner.wait = wait_longer

class TritonPythonModel:
"""


@pytest.fixture(scope="module")
def server(
    tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("slow") / "repository"
    shutil.copytree(tiny_repository, repository)
    model = repository / "engine" / "1" / "model.py"
    model.write_text(model.read_text().replace("class TritonPythonModel:\n", SLOWLY))
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0)
    with TritonServer(repository, options) as server:
        yield server
        server.stop(drain=False)


def leave_grpc(server: TritonServer) -> None:
    with RawClient(server.grpc_url) as raw:
        raw.send(
            "ensemble", text_input="abc", max_tokens=LONG, stream=True, end_id=-1, speculate=False
        )
        answers = raw.responses()
        for _ in range(5):
            next(answers)


@contextmanager
def asked_over_http(server: TritonServer, max_tokens: int) -> Iterator[socket.socket]:
    """A connection that asked for a stream, and takes little at once."""
    address = urlsplit(server.http_url)
    asked = {
        "text_input": "abc",
        "max_tokens": max_tokens,
        "stream": True,
        "end_id": -1,
        "speculate": False,
    }
    body = json.dumps(asked).encode()
    head = (
        "POST /v2/models/ensemble/generate_stream HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect((address.hostname, address.port))
        connection.settimeout(PATIENCE_S)
        connection.sendall(head.encode() + body)
        yield connection


def leave_http(server: TritonServer) -> None:
    with asked_over_http(server, LONG) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def active(server: TritonServer) -> float:
    return gauge(server.metrics_url, "nv_trt_llm_request_metrics", request_type="active")


def used_blocks(server: TritonServer) -> float:
    return gauge(
        server.metrics_url, "nv_trt_llm_kv_cache_block_metrics", kv_cache_block_type="used"
    )


def steps(server: TritonServer) -> float:
    taken = num_steps(server.metrics_url)
    assert taken is not None
    return taken


@pytest.mark.parametrize("leave", [leave_grpc, leave_http])
def test_a_stream_that_was_left_is_ended_and_its_blocks_are_free(
    server: TritonServer, leave: Callable[[TritonServer], None]
) -> None:
    wait_until(lambda: active(server) == 0)
    before = steps(server)
    leave(server)
    wait_until(lambda: steps(server) > before + 5 and active(server) == 0)
    assert steps(server) - before < LONG - 100  # it takes 1.2 s, of the 9 s of the whole answer
    assert used_blocks(server) == 0


def test_a_client_that_reads_late_gets_everything(server: TritonServer) -> None:
    wait_until(lambda: active(server) == 0)
    before = steps(server)
    with asked_over_http(server, 150) as connection:
        wait_until(lambda: steps(server) > before + 100)
        received = b""
        while (reason := re.search(rb'"finish_reason":"([a-z]+)"', received)) is None:
            received += connection.recv(1 << 16)
    assert reason[1] == b"length"
    assert received.count(b"data: ") > 100


def test_a_left_stream_ends_no_other(server: TritonServer) -> None:
    with TritonClient(server.grpc_url, timeout_s=60) as client:
        stream = client.stream("xyz", max_tokens=200, ignore_eos=True, speculate=False)
        next(stream)
        leave_grpc(server)
        pieces = list(stream)
        assert pieces[-1].finish_reason is FinishReason.LENGTH
