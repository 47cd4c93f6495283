"""A language model in this process, for asyncio: the same methods as LLM's, awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from llmasos.arguments import (
    ChatArguments,
    chat_arguments,
    check_prompt,
    check_prompts,
    params_of_each,
    sampling_params,
)
from llmasos.engine.plan import EnginePlan, Precision
from llmasos.errors import QueueFullError
from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.generation_config import GenerationConfigChoice
from llmasos.outputs import Generation
from llmasos.sampling import SamplingFields, SamplingParams
from llmasos.text.chat_messages import Message
from llmasos.text.prompt_encoder import PromptEncoder
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.load import load_engine
from llmasos_runtime.options import EngineOptions
from typing_extensions import Unpack

from llmasos_app.async_request import start, start_in_thread
from llmasos_app.cache.engine_cache import find_plan

_SHORT = 4096
"""Characters of a prompt that are encoded in a millisecond or two, while the event loop waits."""


class AsyncLLM:
    """A compiled engine; make one with `await AsyncLLM.load(model)`.

    Cancelling a task that waits for an answer cancels its request.
    """

    def __init__(self, engine: Engine) -> None:
        """engine: is closed with this."""
        self._engine = engine
        self._prompts = PromptEncoder(engine.tokenizer, max_seq_len=engine.plan.limits.max_seq_len)

    @classmethod
    async def load(
        cls,
        model: str | Path,
        *,
        precision: Precision = "int8",
        revision: str | None = None,
        num_threads: int | None = None,
        kv_cache_bytes: int | None = None,
        reuse_prefixes: bool = True,
        speculate: bool | None = None,
        generation_config: GenerationConfigChoice = "auto",
    ) -> AsyncLLM:
        """As LLM's constructor, in a thread; a checkpoint is built on first use."""
        options = EngineOptions(
            num_threads=num_threads,
            kv_cache_bytes=kv_cache_bytes,
            reuse_prefixes=reuse_prefixes,
            speculate=speculate,
            generation_config=generation_config,
        )

        def load() -> Engine:
            plan_dir = find_plan(model, precision=precision, revision=revision)
            return load_engine(plan_dir, options)

        return cls(await asyncio.to_thread(load))

    @property
    def plan(self) -> EnginePlan:
        """What the engine was built from and its limits."""
        return self._engine.plan

    async def generate_text(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> str:
        """The new text that continues a prompt; the prompt is not repeated."""
        asked = self.stream(prompt, params, add_special_tokens=add_special_tokens, **fields)
        return (await asked.read()).text

    async def generate(
        self,
        prompts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> list[Generation]:
        """Continue many prompts together, in their order.

        Prompts that find the engine's queue full wait until earlier ones are answered.
        """
        prompts = check_prompts(prompts)
        each = params_of_each(params, count=len(prompts), **fields)
        running: deque[AsyncPieceStream] = deque()
        done: list[Generation] = []
        try:
            for prompt, one in zip(prompts, each, strict=True):
                token_ids = await asyncio.to_thread(
                    self._prompts.encode, prompt, add_special_tokens=add_special_tokens
                )
                running.append(await self._start_when_there_is_room(token_ids, one, running, done))
            return done + [await stream.read() for stream in running]
        finally:
            for stream in running:
                await stream.aclose()

    def stream(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> AsyncPieceStream:
        """The answer piece by piece, for `async for`. Raises QueueFullError at once.

        A long prompt is encoded in a thread; then the first piece raises what is wrong.
        """
        encode = partial(
            self._prompts.encode, check_prompt(prompt), add_special_tokens=add_special_tokens
        )
        begin = start if len(prompt) <= _SHORT else start_in_thread
        return begin(self._engine, encode, sampling_params(params, **fields))

    async def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> Generation:
        """The model's answer to a conversation of {"role": ..., "content": ...} messages.

        fields: those of SamplingParams, and of ChatOptions such as `tools`.
        """
        return await self.stream_chat(messages, params, **fields).read()

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> AsyncPieceStream:
        """As `chat`, piece by piece; the first piece raises what is wrong."""
        chosen, options = chat_arguments(params, **fields)
        encode = partial(self._prompts.encode_chat, messages, options)
        return start_in_thread(self._engine, encode, chosen)

    async def aclose(self) -> None:
        """Stop the engine and free its memory; calling it again does nothing."""
        await asyncio.to_thread(self._engine.close)

    async def __aenter__(self) -> AsyncLLM:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _start_when_there_is_room(
        self,
        token_ids: Sequence[int],
        params: SamplingParams,
        running: deque[AsyncPieceStream],
        done: list[Generation],
    ) -> AsyncPieceStream:
        while True:
            try:
                return start(self._engine, lambda: token_ids, params)
            except QueueFullError:
                if not running:
                    raise
                done.append(await running.popleft().read())
