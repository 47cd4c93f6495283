"""A language model behind a Triton server, for asyncio: the methods of TritonClient, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

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
from llmasos.errors import InvalidRequestError
from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.outputs import Generation
from llmasos.sampling import SamplingFields, SamplingParams
from llmasos.text.chat_messages import Message, check_messages
from llmasos.triton.transport.base import Fields, chat_fields, request_fields, text_fields
from llmasos.triton.transport.triton_grpc_async import AsyncGrpcTransport
from llmasos.triton.triton_client import address_of

_MAX_CONCURRENT = 64


class AsyncTritonClient:
    """A client of the `ensemble` model over gRPC; made and used in one event loop.

    url: `host:port` or `grpc://host:port`. timeout_s: longest wait for a whole answer; None
    waits for ever. Errors are those of TritonClient. Cancelling a task that waits for an
    answer ends its request in the engine.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        model: str = "ensemble",
        timeout_s: float | None = None,
    ) -> None:
        address, protocol = address_of(url, None)
        if protocol != "grpc":
            raise InvalidRequestError(f"AsyncTritonClient speaks gRPC: grpc://host:port, got {url}")
        self._timeout_s = check_timeout(timeout_s)
        self._transport = AsyncGrpcTransport(address, model=model)

    async def is_ready(self) -> bool:
        """Whether the server answers and its models are loaded."""
        return await self._transport.is_ready()

    async def generate_text(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> str:
        """The new text that continues a prompt; the prompt is not repeated."""
        chosen = sampling_params(params, **fields)
        source = text_fields(check_prompt(prompt), add_special_tokens=add_special_tokens)
        return (await self._start(source, params=chosen, stream=False).read()).text

    async def generate(
        self,
        prompts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> list[Generation]:
        """Continue many prompts together, at most 64 at once, in their order."""
        room = asyncio.Semaphore(_MAX_CONCURRENT)

        async def one(source: Fields, chosen: SamplingParams) -> Generation:
            async with room:
                return await self._start(source, params=chosen, stream=False).read()

        sources = [
            text_fields(prompt, add_special_tokens=add_special_tokens)
            for prompt in check_prompts(prompts)
        ]
        each = params_of_each(params, count=len(sources), **fields)
        tasks = [asyncio.ensure_future(one(*pair)) for pair in zip(sources, each, strict=True)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stream(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> AsyncPieceStream:
        """The answer piece by piece, for `async for`."""
        chosen = sampling_params(params, **fields)
        source = text_fields(check_prompt(prompt), add_special_tokens=add_special_tokens)
        return self._start(source, params=chosen, stream=True)

    async def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> Generation:
        """The model's answer to a conversation of {"role": ..., "content": ...} messages.

        fields: those of SamplingParams, and of ChatOptions such as `tools`.
        """
        chosen, options = chat_arguments(params, **fields)
        return await self._start(
            chat_fields(check_messages(messages), options), params=chosen, stream=False
        ).read()

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> AsyncPieceStream:
        """As `chat`, piece by piece."""
        chosen, options = chat_arguments(params, **fields)
        return self._start(
            chat_fields(check_messages(messages), options), params=chosen, stream=True
        )

    async def aclose(self) -> None:
        """Cancel what is running and close the connection; calling it again does nothing."""
        await self._transport.aclose()

    async def __aenter__(self) -> AsyncTritonClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _start(
        self,
        source: Fields,
        *,
        params: SamplingParams,
        stream: bool,
    ) -> AsyncPieceStream:
        fields = request_fields(source, params=params, stream=stream)
        return self._transport.start(fields, timeout_s=self._timeout_s)
