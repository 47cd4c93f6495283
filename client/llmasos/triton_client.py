"""A language model behind a Triton server, with the same methods as one in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit
from weakref import WeakSet

from typing_extensions import Unpack

from llmasos.arguments import Message, SamplingFields, params_of_each, sampling_params
from llmasos.errors import InvalidRequestError
from llmasos.outputs import Generation
from llmasos.sampling import SamplingParams
from llmasos.stream import PieceStream
from llmasos.transport.base import Transport, request_fields
from llmasos.transport.triton_grpc import GrpcTransport
from llmasos.transport.triton_http import HttpTransport

Protocol = Literal["grpc", "http"]
_MAX_CONCURRENT = 64


class TritonClient:
    """A client of the `ensemble` model of an LLMasOS repository.

    url: `host:port`, or `grpc://host:port`, or `http://host:port`.
    protocol: for a url without a scheme; gRPC costs the least for each token.
    timeout_s: longest wait for a whole answer; None waits for ever.

    Errors of the server are raised as LLMasOSError with its message; a connection that
    breaks before the answer is whole raises EngineStoppedError. The tokens' ids are not
    sent by the ensemble, so `token_ids` is empty here. May be used from many threads.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        protocol: Protocol | None = None,
        model: str = "ensemble",
        timeout_s: float | None = None,
    ) -> None:
        address, protocol = address_of(url, protocol)
        self._transport = _transport(address, protocol=protocol, model=model)
        self._timeout_s = timeout_s
        self._streams: WeakSet[PieceStream] = WeakSet()

    def is_ready(self) -> bool:
        """Whether the server answers and its models are loaded."""
        return self._transport.is_ready()

    def generate_text(
        self, prompt: str, params: SamplingParams | None = None, **fields: Unpack[SamplingFields]
    ) -> str:
        """The new text that continues a prompt; the prompt is not repeated.

        Sampling is said by one SamplingParams or by its fields: `max_tokens=64`.
        """
        chosen = sampling_params(params, **fields)
        return self._start(text=prompt, params=chosen, stream=False).read().text

    def generate(
        self,
        prompts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[Generation]:
        """Continue many prompts together; the results are in the order of the prompts.

        params: one for all, or one for each prompt. Raises InvalidRequestError.
        """
        each = params_of_each(params, count=len(prompts))
        running: deque[PieceStream] = deque()
        done: list[Generation] = []
        try:
            for prompt, one in zip(prompts, each, strict=True):
                if len(running) == _MAX_CONCURRENT:
                    done.append(running.popleft().read())
                running.append(self._start(text=prompt, params=one, stream=False))
            return done + [stream.read() for stream in running]
        finally:
            for stream in running:
                stream.close()

    def stream(
        self, prompt: str, params: SamplingParams | None = None, **fields: Unpack[SamplingFields]
    ) -> PieceStream:
        """The answer piece by piece; leaving the loop early cancels the request."""
        return self._start(text=prompt, params=sampling_params(params, **fields), stream=True)

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[SamplingFields],
    ) -> Generation:
        """The model's answer to a conversation of {"role": ..., "content": ...} messages."""
        chosen = sampling_params(params, **fields)
        return self._start(messages=messages, params=chosen, stream=False).read()

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[SamplingFields],
    ) -> PieceStream:
        """As `chat`, piece by piece."""
        chosen = sampling_params(params, **fields)
        return self._start(messages=messages, params=chosen, stream=True)

    def close(self) -> None:
        """Cancel what is running and close the connection; calling it again does nothing."""
        for stream in list(self._streams):
            stream.close()
        self._transport.close()

    def __enter__(self) -> TritonClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(
        self,
        *,
        text: str = "",
        messages: Sequence[Message] | None = None,
        params: SamplingParams,
        stream: bool,
    ) -> PieceStream:
        fields = request_fields(text=text, messages=messages, params=params, stream=stream)
        started = self._transport.start(fields, timeout_s=self._timeout_s)
        self._streams.add(started)
        return started


def address_of(url: str, protocol: Protocol | None) -> tuple[str, Protocol]:
    """host:port and protocol of a url; raises InvalidRequestError if it is none."""
    if "://" not in url:
        return url, protocol or "grpc"
    parts = urlsplit(url)
    if parts.scheme not in ("grpc", "http") or not parts.netloc:
        raise InvalidRequestError(f"a server's url is grpc://host:port or http://..., got {url}")
    named: Protocol = "grpc" if parts.scheme == "grpc" else "http"
    if protocol not in (None, named):
        raise InvalidRequestError(f"url {url} and protocol {protocol} disagree")
    return parts.netloc, named


def _transport(address: str, *, protocol: Protocol, model: str) -> Transport:
    if protocol == "http":
        return HttpTransport(address, model=model)
    return GrpcTransport(address, model=model)
