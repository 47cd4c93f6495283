"""A language model behind a Triton server, with the same methods as one in this process."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Literal
from weakref import WeakSet

from typing_extensions import Unpack

from llmasos.arguments import (
    ChatArguments,
    chat_arguments,
    check_prompt,
    check_prompts,
    check_timeout,
    params_of_each,
    sampling_params,
)
from llmasos.errors import EngineStoppedError, InvalidRequestError
from llmasos.generation.stream import PieceStream, settle_dropped
from llmasos.outputs import Generation
from llmasos.sampling import SamplingFields, SamplingParams
from llmasos.text.chat_messages import Message, check_messages
from llmasos.triton.transport.base import (
    CLOSED,
    Fields,
    Transport,
    chat_fields,
    request_fields,
    text_fields,
)
from llmasos.triton.transport.triton_grpc import GrpcTransport
from llmasos.triton.transport.triton_http import HttpTransport

Protocol = Literal["grpc", "http"]
_MAX_CONCURRENT = 64
_DROPPED_TIMEOUT_S = 5.0
_HTTP_PORT = 80
_MAX_PORT = 65535
_URL = re.compile(
    r"((?P<scheme>grpc|http)://)?"
    r"(?P<address>([\w.-]+|\[[\da-f:.]+(%\w+)?\])(:(?P<port>\d{1,5}))?)/?",
    re.ASCII | re.IGNORECASE,
)


class TritonClient:
    """A client of the `ensemble` model of an LLMasOS repository.

    url: `host:port`, or `grpc://host:port`, or `http://host:port`.
    protocol: for a url without a scheme; gRPC costs the least for each token.
    timeout_s: longest wait for a whole answer; None waits for ever.

    Errors of the server are raised as LLMasOSError with its message; a connection that
    breaks before the answer is whole raises EngineStoppedError, and so does any request
    after `close`. The tokens' ids, which each response would have to carry, are not asked
    for: `token_ids` is empty here. May be used from many threads.
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
        self._timeout_s = check_timeout(timeout_s)
        self._transport = _transport(address, protocol=protocol, model=model)
        self._lock = threading.Lock()  # of the two below
        self._streams: WeakSet[PieceStream] = WeakSet()
        self._closed = False

    def is_ready(self) -> bool:
        """Whether the server answers and its models are loaded."""
        return not self._closed and self._transport.is_ready()

    def generate_text(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> str:
        """The new text that continues a prompt; the prompt is not repeated.

        Sampling is said by one SamplingParams or by its fields: `max_tokens=64`.
        add_special_tokens: False for a text that has its own, such as a rendered chat.
        """
        chosen = sampling_params(params, **fields)
        source = text_fields(check_prompt(prompt), add_special_tokens=add_special_tokens)
        return self._start(source, params=chosen, stream=False).read().text

    def generate(
        self,
        prompts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> list[Generation]:
        """Continue many prompts together; the results are in the order of the prompts.

        params: one for all, as its fields are, or one for each prompt. Raises InvalidRequestError.
        """
        sources = [
            text_fields(prompt, add_special_tokens=add_special_tokens)
            for prompt in check_prompts(prompts)
        ]
        each = params_of_each(params, count=len(sources), **fields)
        running: deque[PieceStream] = deque()
        done: list[Generation] = []
        try:
            for source, one in zip(sources, each, strict=True):
                if len(running) == _MAX_CONCURRENT:
                    done.append(running.popleft().read())
                running.append(self._start(source, params=one, stream=False))
            return done + [stream.read() for stream in running]
        finally:
            for stream in running:
                stream.close()

    def stream(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> PieceStream:
        """The answer piece by piece; leaving the loop early cancels the request."""
        chosen = sampling_params(params, **fields)
        source = text_fields(check_prompt(prompt), add_special_tokens=add_special_tokens)
        return self._start(source, params=chosen, stream=True)

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> Generation:
        """The model's answer to a conversation of {"role": ..., "content": ...} messages.

        fields: those of SamplingParams, and of ChatOptions such as `tools`.
        """
        chosen, options = chat_arguments(params, **fields)
        return self._start(
            chat_fields(check_messages(messages), options), params=chosen, stream=False
        ).read()

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> PieceStream:
        """As `chat`, piece by piece."""
        chosen, options = chat_arguments(params, **fields)
        return self._start(
            chat_fields(check_messages(messages), options), params=chosen, stream=True
        )

    def close(self) -> None:
        """Cancel what is running and close the connection; calling it again does nothing."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        with ExitStack() as closing:  # one that fails does not keep the others from closing
            closing.callback(self._transport.close)
            closing.callback(settle_dropped, _DROPPED_TIMEOUT_S)
            for stream in streams:
                closing.callback(stream.close)

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
        source: Fields,
        *,
        params: SamplingParams,
        stream: bool,
    ) -> PieceStream:
        fields = request_fields(source, params=params, stream=stream)
        if self._closed:
            raise EngineStoppedError(CLOSED)
        started = self._transport.start(fields, timeout_s=self._timeout_s)
        with self._lock:
            if not self._closed:
                self._streams.add(started)
                return started
        started.close()
        raise EngineStoppedError(CLOSED)


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


def _transport(address: str, *, protocol: Protocol, model: str) -> Transport:
    if protocol == "http":
        return HttpTransport(address, model=model)
    return GrpcTransport(address, model=model)
