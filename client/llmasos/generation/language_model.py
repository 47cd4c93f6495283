"""The methods of a language model, wherever its engine runs."""

from __future__ import annotations

from collections import deque
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
from llmasos.generation.stream import PieceStream
from llmasos.generation.text_tasks import summaries, translations
from llmasos.generation.transport import (
    ChatPrompt,
    GenerationRequest,
    Prompt,
    TextPrompt,
    Transport,
)
from llmasos.outputs import Generation
from llmasos.sampling import SamplingFields, SamplingParams
from llmasos.text.chat_messages import Message


class LanguageModel:
    """The base of `LLM` and `TritonClient`, which add the transport to their engine.

    `AsyncLanguageModel` has the same methods for asyncio, with the same arguments and docstrings.
    """

    def __init__(self, transport: Transport) -> None:
        """transport: is closed together with this object."""
        self._transport = transport

    def generate_text(
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
        return self._start(source, params_of_one(params, **fields), stream=False).read().text

    def generate(
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
        return self._generate(sources, params_of_each(params, count=len(sources), **fields))

    def stream(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        add_special_tokens: bool = True,
        **fields: Unpack[SamplingFields],
    ) -> PieceStream:
        """Returns the answer piece by piece; leaving the loop early cancels the request.

        An error is raised here if it is found at once, and else by the stream's next piece.
        """
        source = TextPrompt(text=check_prompt(prompt), add_special_tokens=add_special_tokens)
        return self._start(source, sampling_params(params, **fields), stream=True)

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> Generation:
        """Returns the answer to a conversation of {"role": ..., "content": ...} messages.

        fields: the fields of SamplingParams, and those of ChatOptions such as `tools`.
        """
        chosen, options = chat_arguments(params, **fields)
        return self._start(
            ChatPrompt(messages=messages, options=options), chosen, stream=False
        ).read()

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> PieceStream:
        """Returns the answer of `chat` piece by piece, as `stream` does."""
        chosen, options = chat_arguments(params, **fields)
        return self._start(ChatPrompt(messages=messages, options=options), chosen, stream=True)

    def translate(
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
        answer = self._start(prompt, params_of_one(params, **fields), stream=False).read()
        return answer.text

    def translate_all(
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
        return [answer.text for answer in self._generate(prompts, each)]

    def summarize(
        self,
        text: str,
        params: SamplingParams | None = None,
        **fields: Unpack[SamplingFields],
    ) -> str:
        """Returns the summary of a text, by a model with an encoder.

        What the model's config.json recommends for summaries fills the fields that are left open.
        """
        (prompt,) = summaries([check_prompt(text)])
        answer = self._start(prompt, params_of_one(params, **fields), stream=False).read()
        return answer.text

    def summarize_all(
        self,
        texts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        **fields: Unpack[SamplingFields],
    ) -> list[str]:
        """Returns the summaries of many texts, in their order, as `summarize` does."""
        prompts = summaries(check_prompts(texts))
        each = params_of_each(params, count=len(prompts), **fields)
        return [answer.text for answer in self._generate(prompts, each)]

    def close(self) -> None:
        """Ends what is running, then frees the engine's memory or closes the connection to it.

        Calling it again does nothing.
        """
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, prompt: Prompt, params: SamplingParams, *, stream: bool) -> PieceStream:
        return self._transport.start(GenerationRequest(prompt=prompt, params=params, stream=stream))

    def _generate(
        self, prompts: Iterable[Prompt], each: Sequence[SamplingParams]
    ) -> list[Generation]:
        """Returns the answers in order; while there is no room for a prompt, reads the oldest."""
        running: deque[PieceStream] = deque()
        done: list[Generation] = []
        try:
            for prompt, params in zip(prompts, each, strict=True):
                prepared = self._transport.prepare(prompt)
                while (started := self._start_if_room(prepared, params, len(running))) is None:
                    done.append(running.popleft().read())
                running.append(started)
            return done + [stream.read() for stream in running]
        finally:
            for stream in running:
                stream.close()

    def _start_if_room(
        self, prompt: Prompt, params: SamplingParams, num_running: int
    ) -> PieceStream | None:
        """Returns None if earlier prompts take up the room: the caller waits for one of them."""
        if num_running == self._transport.max_concurrent:
            return None
        try:
            return self._start(prompt, params, stream=False)
        except QueueFullError:
            if not num_running:
                raise
            return None
