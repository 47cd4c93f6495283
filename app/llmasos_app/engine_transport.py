"""The transport to an engine in this process: it encodes prompts and submits them."""

from __future__ import annotations

import itertools
from queue import SimpleQueue

from llmasos.generation.stream import PieceStream
from llmasos.generation.transport import (
    ChatPrompt,
    GenerationRequest,
    Prompt,
    TextPrompt,
    TokenPrompt,
)
from llmasos.sampling import SamplingParams
from llmasos.text.prompt_encoder import PromptEncoder
from llmasos.text.source_texts import sources_of
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
        return tokens_of(prompt, self._encoder)

    def start(self, request: GenerationRequest) -> PieceStream:
        engine, request_id = self._engine, f"llm-{next(self._ids)}"
        tokens = tokens_of(request.prompt, self._encoder)
        updates: SimpleQueue[Update] = SimpleQueue()
        engine.submit(request_of(tokens, request.params, request_id=request_id), updates.put)
        return PieceStream(
            lambda: piece_of(updates.get()),
            lambda: engine.cancel(request_id),
            lambda: engine.abandon(request_id),
        )

    def close(self) -> None:
        self._engine.close()


def prompt_encoder(engine: Engine) -> PromptEncoder:
    """Returns an encoder that refuses prompts which do not fit into this engine."""
    plan = engine.plan
    return PromptEncoder(
        engine.tokenizer,
        max_seq_len=plan.limits.max_seq_len,
        sources=sources_of(engine.tokenizer, plan),
    )


def tokens_of(prompt: Prompt, encoder: PromptEncoder) -> TokenPrompt:
    """Encodes a prompt; raises InvalidRequestError if it cannot fit or its messages are invalid."""
    if isinstance(prompt, TextPrompt):
        encoded = encoder.encode_prompt(
            prompt.text, prompt.asked, add_special_tokens=prompt.add_special_tokens
        )
        return TokenPrompt(
            token_ids=encoded.token_ids,
            decoder_token_ids=encoded.decoder_token_ids,
            task=encoded.task,
        )
    if isinstance(prompt, ChatPrompt):
        return TokenPrompt(token_ids=encoder.encode_chat(prompt.messages, prompt.options))
    return prompt


def request_of(tokens: TokenPrompt, params: SamplingParams, *, request_id: str) -> Request:
    """Returns the request for the engine."""
    return Request(
        request_id=request_id,
        prompt_token_ids=tuple(tokens.token_ids),
        decoder_token_ids=tokens.decoder_token_ids,
        task=tokens.task,
        params=params,
    )
