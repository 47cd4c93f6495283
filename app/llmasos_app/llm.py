"""A language model in this process: the compiled engine without a server."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from queue import SimpleQueue
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
from llmasos.generation.stream import PieceStream
from llmasos.generation_config import GenerationConfigChoice
from llmasos.outputs import Generation
from llmasos.sampling import SamplingFields, SamplingParams
from llmasos.text.chat_messages import Message
from llmasos.text.prompt_encoder import PromptEncoder
from llmasos_runtime.load import load_engine
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.sequences.request import Request, Update, piece_of
from typing_extensions import Unpack

from llmasos_app.cache.engine_cache import find_plan


class LLM:
    """A compiled engine, built on first use.

    model: a checkpoint (a directory, a GGUF file, a hub id, `smollm2-135m-instruct`), or
        what `llmasos build` wrote (a model repository or an engine plan). A checkpoint is
        built once into the cache (`llmasos.cache.cache_dir`).
    precision: of the weights, for a checkpoint; what is built already keeps its own.
    revision: of a hub id; None is the default branch.
    num_threads: that the engine computes with; None is one for each physical core.
    kv_cache_bytes: memory for keys and values; None lets the engine choose.
    reuse_prefixes: a prompt that begins like an earlier one takes its keys and values.
    speculate: guess tokens that an answer repeats, where that is faster; None does so where it
        cannot change a token, in f32.
    generation_config: auto lets the checkpoint's generation_config.json fill in the fields that
        a call leaves out; none does without it. A SamplingParams says everything either way.

    Raises CheckpointError, PlanError. Close it, or use it as a context manager. It works in the
    process that loaded it: in one that was forked from there its methods raise
    ForkedProcessError, and closing it does nothing.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        precision: Precision = "int8",
        revision: str | None = None,
        num_threads: int | None = None,
        kv_cache_bytes: int | None = None,
        reuse_prefixes: bool = True,
        speculate: bool | None = None,
        generation_config: GenerationConfigChoice = "auto",
    ) -> None:
        plan_dir = find_plan(model, precision=precision, revision=revision)
        options = EngineOptions(
            num_threads=num_threads,
            kv_cache_bytes=kv_cache_bytes,
            reuse_prefixes=reuse_prefixes,
            speculate=speculate,
            generation_config=generation_config,
        )
        self._engine = load_engine(plan_dir, options)
        self._prompts = PromptEncoder(
            self._engine.tokenizer, max_seq_len=self.plan.limits.max_seq_len
        )
        self._ids = itertools.count()

    @property
    def plan(self) -> EnginePlan:
        """What the engine was built from and its limits."""
        return self._engine.plan

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
        asked = self.stream(prompt, params, add_special_tokens=add_special_tokens, **fields)
        return asked.read().text

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
        prompts = check_prompts(prompts)
        each = params_of_each(params, count=len(prompts), **fields)
        encode = self._prompts.encode
        return self._generate(
            (encode(prompt, add_special_tokens=add_special_tokens) for prompt in prompts), each
        )

    def generate_from_tokens(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        **fields: Unpack[SamplingFields],
    ) -> list[Generation]:
        """As `generate`, of prompts that are token ids already."""
        return self._generate(prompts, params_of_each(params, count=len(prompts), **fields))

    def _generate(
        self, prompts: Iterable[Sequence[int]], each: Sequence[SamplingParams]
    ) -> list[Generation]:
        running: deque[PieceStream] = deque()
        done: list[Generation] = []
        try:
            for token_ids, one in zip(prompts, each, strict=True):
                running.append(self._start_when_there_is_room(token_ids, one, running, done))
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
        token_ids = self._prompts.encode(
            check_prompt(prompt), add_special_tokens=add_special_tokens
        )
        return self._start(token_ids, sampling_params(params, **fields))

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> Generation:
        """The model's answer to a conversation of {"role": ..., "content": ...} messages.

        fields: those of SamplingParams, and of ChatOptions such as `tools`.
        """
        return self.stream_chat(messages, params, **fields).read()

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **fields: Unpack[ChatArguments],
    ) -> PieceStream:
        """As `chat`, piece by piece."""
        chosen, options = chat_arguments(params, **fields)
        token_ids = self._prompts.encode_chat(messages, options)
        return self._start(token_ids, chosen)

    def close(self) -> None:
        """Stop the engine and free its memory; calling it again does nothing."""
        self._engine.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, token_ids: Sequence[int], params: SamplingParams) -> PieceStream:
        request_id = f"llm-{next(self._ids)}"
        updates: SimpleQueue[Update] = SimpleQueue()
        self._engine.submit(
            Request(request_id=request_id, prompt_token_ids=tuple(token_ids), params=params),
            updates.put,
        )
        engine = self._engine
        return PieceStream(
            lambda: piece_of(updates.get()),
            lambda: engine.cancel(request_id),
            lambda: engine.abandon(request_id),
        )

    def _start_when_there_is_room(
        self,
        token_ids: Sequence[int],
        params: SamplingParams,
        running: deque[PieceStream],
        done: list[Generation],
    ) -> PieceStream:
        """Start, reading the oldest answers to their end while the engine's queue is full."""
        while True:
            try:
                return self._start(token_ids, params)
            except QueueFullError:
                if not running:
                    raise
                done.append(running.popleft().read())
