"""The transport to an engine in this process: it encodes prompts and submits them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from queue import SimpleQueue

from llmasos.generation.stream import PieceStream
from llmasos.generation.transport import (
    ChatPrompt,
    GenerationRequest,
    Prompt,
    TextPrompt,
    TokenPrompt,
)
from llmasos.text.prompt_encoder import PromptEncoder
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.sequences.request import Request, Update, piece_of


class EngineTransport:
    """engine: is closed together with this object. The length of its queue limits requests."""

    max_concurrent: int | None = None

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._encoder = prompt_encoder(engine)
        self._ids = itertools.count()

    def prepare(self, prompt: Prompt) -> TokenPrompt:
        return TokenPrompt(token_ids=token_ids_of(prompt, self._encoder))

    def start(self, request: GenerationRequest) -> PieceStream:
        engine, request_id = self._engine, f"llm-{next(self._ids)}"
        token_ids = tuple(token_ids_of(request.prompt, self._encoder))
        updates: SimpleQueue[Update] = SimpleQueue()
        engine.submit(
            Request(request_id=request_id, prompt_token_ids=token_ids, params=request.params),
            updates.put,
        )
        return PieceStream(
            lambda: piece_of(updates.get()),
            lambda: engine.cancel(request_id),
            lambda: engine.abandon(request_id),
        )

    def close(self) -> None:
        self._engine.close()


def prompt_encoder(engine: Engine) -> PromptEncoder:
    """Returns an encoder that refuses prompts which do not fit into this engine."""
    return PromptEncoder(engine.tokenizer, max_seq_len=engine.plan.limits.max_seq_len)


def token_ids_of(prompt: Prompt, encoder: PromptEncoder) -> Sequence[int]:
    """Encodes a prompt; raises InvalidRequestError if it cannot fit or its messages are invalid."""
    if isinstance(prompt, TextPrompt):
        return encoder.encode(prompt.text, add_special_tokens=prompt.add_special_tokens)
    if isinstance(prompt, ChatPrompt):
        return encoder.encode_chat(prompt.messages, prompt.options)
    return prompt.token_ids
