"""A small server that speaks Triton's gRPC and HTTP, to see what a client sends and survives.

The prompt says what it does: "hello" is answered with three pieces; "refuse" is
an invalid request; "break" ends the connection after the first piece; "hang"
sends the first piece, and the rest when nobody waits for it any more; "drip" sends
pieces until it is released, whatever it is told. Over HTTP alone, "cut" ends the first
event in its middle, "html" is answered by a page, and "misread" by what Triton says of a
value that it cannot parse.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from patience import PATIENCE_S
from tritonclient.grpc import service_pb2, service_pb2_grpc

PIECES = ("Hé", "llo", " ☃")
REFUSAL = "top_p must be between 0.0 and 1.0, got 2.0"
UNPARSED = "Unable to parse 'data': attempt to access JSON non-unsigned-integer"
WIRE_REFUSAL = f"in ensemble 'ensemble', [invalid_request] {REFUSAL}"
messages: Any = service_pb2


@dataclass
class FakeTriton:
    """Where it listens and what it saw. requests: tensors by name, with "id" and "model"."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def stops(self) -> list[str]:
        """Ids of the requests that the engine was told to stop."""
        return [r["id"] for r in self.requests if r["model"] == "engine" and r["stop"]]

    def asked(self) -> list[dict[str, Any]]:
        return [r for r in self.requests if r["model"] == "ensemble"]


def asked(request: dict[str, Any]) -> str:
    """The prompt, or the last message of a conversation."""
    if "messages" in request:
        return str(json.loads(request["messages"])[-1]["content"])
    return str(request["text_input"])


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Responses of the ensemble by tensor name."""
    usage = {"num_prompt_tokens": 2, "num_output_tokens": 3, "num_cached_tokens": 1}
    ending = {"finish_reason": "stop", "stop_reason": None, "usage": usage}
    last = {"ending": json.dumps(ending)}
    if request.get("stream"):
        for text in PIECES[:-1]:
            yield {"text_output": text}
        yield {"text_output": PIECES[-1], **last}
    else:
        yield {"text_output": "".join(PIECES), **last}


def _answer(request: dict[str, Any], fake: FakeTriton) -> Iterator[dict[str, Any]]:
    if asked(request) == "drip":
        while not fake.released.wait(0.05):
            yield {"text_output": "."}
    yield from answer(request)


@contextmanager
def fake_grpc() -> Generator[FakeTriton, None, None]:
    server = grpc.server(ThreadPoolExecutor(16))
    fake = FakeTriton(url="")
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(fake), server)
    fake.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        fake.released.set()
        server.stop(grace=0).wait()


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # untyped
    def __init__(self, fake: FakeTriton) -> None:
        self._fake = fake

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - Triton's name
        return messages.ModelReadyResponse(ready=request.name == "ensemble")

    def ModelStreamInfer(  # noqa: N802 - Triton's name
        self, requests: Iterator[Any], context: Any
    ) -> Iterator[Any]:
        message = next(requests)
        request = _tensors(message)
        self._fake.requests.append(request)
        if request["model"] == "engine":
            return
        prompt = asked(request)
        if prompt == "refuse":
            yield messages.ModelStreamInferResponse(error_message=WIRE_REFUSAL)
            return
        for index, values in enumerate(_answer(request, self._fake)):
            if index == 1 and prompt == "break":
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if index == 1 and prompt == "hang":
                self._fake.released.wait(2 * PATIENCE_S)
            yield _response(message.id, values)


def _tensors(message: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"model": message.model_name, "id": message.id, "types": {}}
    for tensor, raw in zip(message.inputs, message.raw_input_contents, strict=True):
        values["types"][tensor.name] = (tensor.datatype, tuple(tensor.shape))
        values[tensor.name] = _decode(tensor.datatype, raw)
    return values


def _decode(datatype: str, raw: bytes) -> Any:
    if datatype != "BYTES":
        form = {"INT32": "i", "UINT64": "Q", "FP32": "f", "BOOL": "?"}[datatype]
        values = [value for (value,) in struct.iter_unpack(f"<{form}", raw)]
        return values[0] if len(values) == 1 else values
    texts: list[str] = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        texts.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    return texts if len(texts) > 1 else texts[0]


def _response(request_id: str, values: dict[str, Any]) -> Any:
    response = messages.ModelInferResponse(model_name="ensemble", id=request_id)
    for name, value in values.items():
        if isinstance(value, str):
            encoded = value.encode()
            datatype, raw = "BYTES", struct.pack("<I", len(encoded)) + encoded
        else:
            datatype, raw = "INT32", struct.pack("<i", value)
        response.outputs.add(name=name, datatype=datatype, shape=[1, 1])
        response.raw_output_contents.append(raw)
    return messages.ModelStreamInferResponse(infer_response=response)


@contextmanager
def fake_http() -> Generator[FakeTriton, None, None]:
    fake = FakeTriton(url="")

    class Handler(_HttpHandler):
        triton = fake

    server = _HttpServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        fake.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _HttpServer(ThreadingHTTPServer):
    request_queue_size = 128  # the client connects 64 times at once


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # with chunks for streams, as Triton
    triton: FakeTriton

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass

    def do_GET(self) -> None:
        self._reply(200 if self.path == "/v2/models/ensemble/ready" else 404, "text/plain", b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, _, _, model, endpoint = self.path.split("/")
        request = {"model": model, **body}
        self.triton.requests.append(request)
        if model == "engine":
            self._reply(200, "text/event-stream", b"")
        elif asked(request) == "refuse":
            error = json.dumps({"error": WIRE_REFUSAL})
            body = error if endpoint == "generate" else f"data: {error}\n\n"
            self._reply(400, "application/json", body.encode())
        elif asked(request) == "misread":
            self._reply(500, "application/json", json.dumps({"error": UNPARSED}).encode())
        elif asked(request) == "html":
            self._reply(200, "text/html", b"<html>")
        elif asked(request) == "cut":
            self._reply(200, "text/event-stream", b'data: {"text_output": "a')
        elif endpoint == "generate":
            (values,) = answer(request)
            self._reply(200, "application/json", json.dumps(values).encode())
        else:
            self._stream(request)

    def _stream(self, request: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for index, values in enumerate(_answer(request, self.triton)):
            if index == 1 and asked(request) == "break":
                self.close_connection = True
                return
            if index == 1 and asked(request) == "hang":
                self.triton.released.wait(2 * PATIENCE_S)
            self._write_chunk(b"data: " + json.dumps(values).encode() + b"\n\n")
        self._write_chunk(b"")

    def _write_chunk(self, content: bytes) -> None:
        with suppress(ConnectionError):  # the client has left
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _reply(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
