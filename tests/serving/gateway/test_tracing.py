"""Traces of a request reach a collector from the gateway and from Triton, if they are asked for."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.errors import ServerError
from llmasos.triton.triton_client import TritonClient
from llmasos_serving.gateway import tracing
from llmasos_serving.gateway.process import GatewayOptions, GatewayProcess, NamedPlan
from llmasos_serving.triton.command import server_command
from llmasos_serving.triton.installation import Installation
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.ports import Ports
from llmasos_serving.triton.server import TritonServer
from patience import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An endpoint that keeps what is sent to it."""
    got: list[bytes] = []

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Keep) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", got
        server.shutdown()


def test_no_traces_are_sent_unless_they_are_asked_for() -> None:
    installation = Installation(executable=Path("/x"), arguments=(), environment={})
    ports = Ports(grpc=1, http=2, metrics=3)
    command = server_command(installation, Path("/r"), ServerOptions(), ports, "p-")
    assert not [argument for argument in command if "trace-config" in argument]
    assert "--otlp-endpoint" not in GatewayOptions().arguments()


def test_an_endpoint_that_is_none_and_missing_packages_are_said_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ServerError, match=r"otlp_endpoint must be a URL such as .*, got here"):
        GatewayOptions(otlp_endpoint="here")
    monkeypatch.setattr(tracing, "_EXPORTER", "no_such_package.exporter")
    with pytest.raises(ServerError, match=r"pip install 'llmasos.otel.'"):
        GatewayOptions(otlp_endpoint="http://localhost/v1/traces")


@pytest.mark.server
def test_a_request_leaves_spans_of_the_gateway_and_of_each_model(tiny_repository: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with collector() as (url, got):
        options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, otlp_endpoint=url)
        with TritonServer(tiny_repository, options) as server:
            with GatewayProcess(
                GatewayOptions(port=0, otlp_endpoint=url),
                models=[NamedPlan(plan=tiny_repository / PLAN_IN_REPOSITORY)],
                grpc_url=server.grpc_url,
                metrics_url=server.metrics_url,
            ) as gateway:
                with urllib.request.urlopen(f"{gateway.url}/v1/models") as models:
                    model = json.load(models)["data"][0]["id"]
                body = {"model": model, "prompt": "abc", "max_tokens": 3, "stream": True}
                traced = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
                asked = urllib.request.Request(
                    f"{gateway.url}/v1/completions",
                    json.dumps(body).encode(),
                    {"Content-Type": "application/json", **traced},
                )
                with urllib.request.urlopen(asked) as answer:
                    assert b"[DONE]" in answer.read()
            with TritonClient(server.grpc_url, model="ensemble", timeout_s=30) as client:
                client.generate(["abc"], max_tokens=2)
        wait_until(lambda: b"POST /v1/completions" in b"".join(got))
        wait_until(lambda: b'"detokenizer"' in b"".join(got))
    sent = b"".join(got)
    assert bytes.fromhex(TRACE) in sent, "the client's trace goes on"
    for model_name in (b'"tokenizer"', b'"engine"', b'"detokenizer"'):
        assert model_name in sent
