"""A language model behind a Triton server, with the same methods as one in this process."""

from __future__ import annotations

import re
from typing import Literal

from llmasos.arguments import check_timeout
from llmasos.encoding.encoder_model import EncoderModel
from llmasos.errors import InvalidRequestError
from llmasos.generation.language_model import LanguageModel
from llmasos.triton.transport.grpc_infer import GrpcInfer
from llmasos.triton.transport.http_infer import HttpInfer
from llmasos.triton.transport.triton_encoding import TritonEncoding
from llmasos.triton.transport.triton_grpc import GrpcConnection
from llmasos.triton.transport.triton_http import HttpConnection
from llmasos.triton.transport.triton_transport import TritonTransport

Protocol = Literal["grpc", "http"]
_HTTP_PORT = 80
_MAX_PORT = 65535
_URL = re.compile(
    r"((?P<scheme>grpc|http)://)?"
    r"(?P<address>([\w.-]+|\[[\da-f:.]+(%\w+)?\])(:(?P<port>\d{1,5}))?)/?",
    re.ASCII | re.IGNORECASE,
)


class TritonClient(LanguageModel, EncoderModel):
    """A client of a model that an LLMasOS repository serves.

    A model that continues texts has `generate_text` and its like, an encoder the method of its
    task: `embed`, `classify`, `rerank`, `classify_tokens` or `fill_mask`.

    url: `host:port`, or `grpc://host:port`, or `http://host:port`.
    protocol: for a url without a scheme; gRPC costs the least for each token.
    model: which to ask, by the name under which a server of several models has it. By default the
    first language model: its `engine`, which answers text in one hop, or its `ensemble` where the
    engine takes token ids alone.
    timeout_s: longest wait for a whole answer; None waits for ever.

    Errors of the server are raised as LLMasOSError with its message; a connection that
    breaks before the answer is whole raises EngineStoppedError, and so does any request
    after `close`. `token_ids` is empty where `ensemble` is asked, which sends text alone. May
    be used from many threads.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        protocol: Protocol | None = None,
        model: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        address, protocol = address_of(url, protocol)
        kind = HttpConnection if protocol == "http" else GrpcConnection
        checked = check_timeout(timeout_s)
        infer = HttpInfer if protocol == "http" else GrpcInfer
        self._encoding = texts = TritonEncoding(infer(address, model=model, timeout_s=checked))
        connection = kind(address, model=model, timeout_s=checked)
        self._server = TritonTransport(connection, close=texts.close)
        super().__init__(self._server)

    def is_ready(self) -> bool:
        """Whether the server answers and its models are loaded."""
        return self._server.is_ready()


def address_of(url: str, protocol: Protocol | None) -> tuple[str, Protocol]:
    """host:port and protocol of a url; raises InvalidRequestError if it is none."""
    parts = _URL.fullmatch(url)
    if parts is None or not 0 < int(parts["port"] or _HTTP_PORT) <= _MAX_PORT:
        raise InvalidRequestError(f"a server's url is grpc://host:port or http://..., got {url!r}")
    named: Protocol | None = None
    if parts["scheme"] is not None:
        named = "http" if parts["scheme"].lower() == "http" else "grpc"
        if protocol not in (None, named):
            raise InvalidRequestError(f"url {url} and protocol {protocol} disagree")
    spoken = named or protocol or "grpc"
    if spoken == "grpc" and parts["port"] is None:
        raise InvalidRequestError(f"a url of gRPC is grpc://host:port, got {url!r} without a port")
    return parts["address"], spoken
