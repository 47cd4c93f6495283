"""The methods of a language model for asyncio, wherever its engine runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType

from typing_extensions import Self, Unpack

from llmasos.arguments import (
    ChatArguments,
    chat_arguments,
    check_prompt,
    check_prompts,
    params_of_each,
    params_of_one,
    sampling_params,
)
from llmasos.errors import QueueFullError
from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.generation.text_tasks import summaries, translations
from llmasos.generation.transport import (
    AsyncTransport,
    ChatPrompt,
    GenerationRequest,
    Prompt,
    TextPrompt,
)
from llmasos.outputs import Generation
from llmasos.sampling import SamplingFields, SamplingParams
from llmasos.text.chat_messages import Message


class AsyncLanguageModel:
    """The base of `AsyncLLM` and `AsyncTritonClient`: the methods of `LanguageModel`, awaited.

    Cancelling a task that waits for an answer cancels its request.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        """transport: is closed together with this object."""
        self._transport = transport

    async def generate_text(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> str:
        """Returns the new text that continues a prompt; the prompt is not repeated.

        params: how to sample; or give its fields as keyword arguments, such as `max_tokens=64`.
        add_special_tokens: False for a text that already has them, such as a rendered chat.
        """
        source = TextPrompt(text=check_prompt(prompt), add_special_tokens=add_special_tokens)
        asked = self._start(source, params_of_one(params, **fields), stream=False)
        return (await asked.read()).text

    async def generate(
        self,
        prompts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> list[Generation]:
        """Continues many prompts together; the results are in the order of the prompts.

        Prompts that do not fit into the engine's queue wait until earlier ones are answered. If
        one prompt fails, the others are cancelled.
        params: one SamplingParams for all prompts, or a list with one for each.
        """
        sources = [
            TextPrompt(text=prompt, add_special_tokens=add_special_tokens)
            for prompt in check_prompts(prompts)
        ]
        return await self._generate(sources, params_of_each(params, count=len(sources), **fields))

    def stream(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> AsyncPieceStream:
        """Returns the answer piece by piece; leaving the loop early cancels the request.

        An error is raised here if it is found at once, and else by the stream's next piece.
        """
        source = TextPrompt(text=check_prompt(prompt), add_special_tokens=add_special_tokens)
        return self._start(source, sampling_params(params, **fields), stream=True)

    async def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> Generation:
        """Returns the answer to a conversation of {"role": ..., "content": ...} messages.

        fields: the fields of SamplingParams, and those of ChatOptions such as `tools`.
        """
        chosen, options = chat_arguments(params, **fields)
        return await self._start(
            ChatPrompt(messages=messages, options=options), chosen, stream=False
        ).read()

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> AsyncPieceStream:
        """Returns the answer of `chat` piece by piece, as `stream` does."""
        chosen, options = chat_arguments(params, **fields)
        return self._start(ChatPrompt(messages=messages, options=options), chosen, stream=True)

    async def translate(
        self,
        text: str,
        params: SamplingParams | None = None,
        *,
        source: str | None = None,
        target: str | None = None,
        **fields: Unpack[SamplingFields],
    ) -> str:
        """Returns the translation of a text, by a model with an encoder.

        source, target: languages by the model's codes, such as en, en_XX or eng_Latn, or by name;
        a model of one pair of languages needs none.
        """
        (prompt,) = translations([check_prompt(text)], source=source, target=target)
        answer = await self._start(prompt, params_of_one(params, **fields), stream=False).read()
        return answer.text

    async def translate_all(
        self,
        texts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        source: str | None = None,
        target: str | None = None,
        **fields: Unpack[SamplingFields],
    ) -> list[str]:
        """Returns the translations of many texts, in their order, as `translate` does."""
        prompts = translations(check_prompts(texts), source=source, target=target)
        each = params_of_each(params, count=len(prompts), **fields)
        return [answer.text for answer in await self._generate(prompts, each)]

    async def summarize(
        self,
        text: str,
        params: SamplingParams | None = None,
        **fields: Unpack[SamplingFields],
    ) -> str:
        """Returns the summary of a text, by a model with an encoder.

        What the model's config.json recommends for summaries fills the fields that are left open.
        """
        (prompt,) = summaries([check_prompt(text)])
        answer = await self._start(prompt, params_of_one(params, **fields), stream=False).read()
        return answer.text

    async def summarize_all(
        self,
        texts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        **fields: Unpack[SamplingFields],
    ) -> list[str]:
        """Returns the summaries of many texts, in their order, as `summarize` does."""
        prompts = summaries(check_prompts(texts))
        each = params_of_each(params, count=len(prompts), **fields)
        return [answer.text for answer in await self._generate(prompts, each)]

    async def aclose(self) -> None:
        """Ends what is running, then frees the engine's memory or closes the connection to it.

        Calling it again does nothing.
        """
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _start(self, prompt: Prompt, params: SamplingParams, *, stream: bool) -> AsyncPieceStream:
        return self._transport.start(GenerationRequest(prompt=prompt, params=params, stream=stream))

    async def _generate(
        self, prompts: Iterable[Prompt], each: Sequence[SamplingParams]
    ) -> list[Generation]:
        """Returns the answers in order; while there is no room for another prompt, awaits any."""
        streams: list[AsyncPieceStream] = []
        reading: list[asyncio.Task[Generation]] = []
        running: set[asyncio.Task[Generation]] = set()
        try:
            for prompt, params in zip(prompts, each, strict=True):
                prepared = await self._transport.prepare(prompt)
                while (started := self._start_if_room(prepared, params, len(running))) is None:
                    await _one_done(running)
                streams.append(started)
                reading.append(asyncio.create_task(started.read()))
                running.add(reading[-1])
            return list(await asyncio.gather(*reading))
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            for stream in streams:  # those whose task had not begun to read
                await stream.aclose()

    def _start_if_room(
        self, prompt: Prompt, params: SamplingParams, num_running: int
    ) -> AsyncPieceStream | None:
        """Returns None if earlier prompts take up the room: the caller waits for one of them."""
        if num_running == self._transport.max_concurrent:
            return None
        try:
            return self._start(prompt, params, stream=False)
        except QueueFullError:
            if not num_running:
                raise
            return None


async def _one_done(running: set[asyncio.Task[Generation]]) -> None:
    """Waits for a task to end and removes those that have; raises the error of one that failed."""
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    running -= done
    for task in done:
        task.result()
