"""A language model for asyncio whose answers are what the last message of a chat says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from llmasos.errors import InvalidRequestError, QueueFullError
from llmasos.generation.async_language_model import AsyncLanguageModel
from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.generation.transport import ChatPrompt, GenerationRequest, Prompt, TextPrompt
from llmasos.outputs import FinishReason, StreamPiece, TokenLogprob, Usage
from llmasos.text.chat_messages import check_messages


@dataclass
class Script:
    """What was asked, and what became of it.

    size: characters of each piece. ends: why answers end. wait_s: before each piece. A text that
    begins with "!full", "!wrong" or "!late" fails: as it is started, and with its second piece.
    """

    size: int = 3
    ends: FinishReason = FinishReason.STOP
    wait_s: float = 0.0
    asked: list[GenerationRequest] = field(default_factory=list)
    cancelled: int = 0
    is_ready: bool = True


class ScriptedModel(AsyncLanguageModel):
    """Answers by a script; `is_ready` as AsyncTritonClient has it."""

    def __init__(self, script: Script) -> None:
        super().__init__(_Transport(script))
        self._script = script

    async def is_ready(self) -> bool:
        return self._script.is_ready


class _Transport:
    max_concurrent: int | None = None

    def __init__(self, script: Script) -> None:
        self._script = script

    async def prepare(self, prompt: Prompt) -> Prompt:
        return prompt

    def start(self, request: GenerationRequest) -> AsyncPieceStream:
        script, text = self._script, _text_of(request.prompt)
        script.asked.append(request)
        if text.startswith("!full"):
            raise QueueFullError("Exceeds maximum queue size: 1 requests are already waiting")
        pieces = [text[i : i + script.size] for i in range(0, len(text), script.size)] or [""]
        sent: list[str] = []

        async def receive() -> StreamPiece:
            await asyncio.sleep(script.wait_s)
            if text.startswith("!wrong"):
                raise InvalidRequestError(
                    "the prompt has 9000 tokens, at most 511 fit: max_seq_len is 512"
                )
            if text.startswith("!late") and sent:
                raise InvalidRequestError("something happened")
            sent.append(pieces[len(sent)])
            is_last = len(sent) == len(pieces)
            return StreamPiece(
                text=sent[-1],
                token_ids=(len(sent),),
                finish_reason=script.ends if is_last else None,
                usage=Usage(num_prompt_tokens=5, num_output_tokens=len(sent)) if is_last else None,
                logprobs=_logprobs(request, len(sent)),
            )

        async def cancel() -> None:
            script.cancelled += 1

        return AsyncPieceStream(receive, cancel, lambda: None)

    async def aclose(self) -> None:
        pass


def _logprobs(request: GenerationRequest, token: int) -> tuple[TokenLogprob, ...]:
    """Of the token of a piece, and of as many others as are asked for."""
    count = request.params.logprobs
    if count is None:
        return ()
    top = tuple((40 + place, -1.0 - place) for place in range(count))
    return (TokenLogprob(token_id=40 + token, logprob=-0.5, top_logprobs=top),)


def _text_of(prompt: Prompt) -> str:
    if isinstance(prompt, ChatPrompt):
        message: dict[str, Any] = check_messages(prompt.messages)[-1]
        content = message.get("content", "")
        return content if isinstance(content, str) else "".join(part["text"] for part in content)
    assert isinstance(prompt, TextPrompt)
    return prompt.text
