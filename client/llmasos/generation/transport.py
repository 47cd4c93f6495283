"""Requests for generated text, and the protocols of the transports that carry them to an engine.

A transport reaches one engine: in this process, or behind a Triton server over gRPC or HTTP. All
transports take the same requests and return the same streams, so the methods of a language model
are written once, in `language_model` and, for asyncio, in `async_language_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.generation.stream import PieceStream
from llmasos.sampling import SamplingParams
from llmasos.text.chat_messages import Message
from llmasos.text.chat_options import ChatOptions
from llmasos.text.text_task import PLAIN, TextTask


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPrompt:
    """A text to continue, or for an encoder. add_special_tokens: whether the tokenizer adds its
    special tokens. asked: what else is asked of it.
    """

    text: str
    add_special_tokens: bool = True
    asked: TextTask = PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompt:
    """A conversation to answer. Its messages are checked when they are rendered or sent."""

    messages: Sequence[Message]
    options: ChatOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrompt:
    """A prompt that is token ids already. decoder_token_ids, task: as in `EncodedPrompt`."""

    token_ids: Sequence[int]
    decoder_token_ids: tuple[int, ...] = ()
    task: str = ""


Prompt = TextPrompt | ChatPrompt | TokenPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One request for an answer.

    stream: True for pieces as they are made; False allows the whole answer in one piece.
    """

    prompt: Prompt
    params: SamplingParams
    stream: bool


class Transport(Protocol):
    """A connection to one engine; its methods may be called from any thread."""

    @property
    def max_concurrent(self) -> int | None:
        """The most requests of one `generate` that run together; None if only QueueFullError limits
        them.
        """
        ...

    def prepare(self, prompt: Prompt) -> Prompt:
        """Returns the prompt in a form that `start` need not convert each time it is tried."""
        ...

    def start(self, request: GenerationRequest) -> PieceStream:
        """Starts a request and returns the stream of its answer.

        Raises InvalidRequestError, QueueFullError, EngineStoppedError, ForkedProcessError;
        errors that are found later are raised by the stream.
        """
        ...

    def close(self) -> None:
        """Ends what is running and frees what is held; calling it again does nothing."""
        ...


class AsyncTransport(Protocol):
    """A `Transport` for asyncio; no method blocks the event loop for long."""

    @property
    def max_concurrent(self) -> int | None:
        """The most requests of one `generate` that run together; None if only QueueFullError limits
        them.
        """
        ...

    async def prepare(self, prompt: Prompt) -> Prompt:
        """Returns the prompt in a form for which `start` does no long work and raises at once."""
        ...

    def start(self, request: GenerationRequest) -> AsyncPieceStream:
        """Starts a request and returns the stream of its answer.

        A prompt that takes long to convert is converted in a thread, and the first piece raises
        what is wrong.
        """
        ...

    async def aclose(self) -> None:
        """Ends what is running and frees what is held; calling it again does nothing."""
        ...
