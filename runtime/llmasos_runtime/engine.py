"""A compiled engine in this process: load a plan, submit requests, get updates."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from llmasos.errors import InvalidRequestError, PlanError
from llmasos.plan import EnginePlan, Limits
from llmasos.plan_lock import PlanHold
from llmasos.tokenizer import Tokenizer

from llmasos_runtime.answer import Answer
from llmasos_runtime.detokenizer import Detokenizer
from llmasos_runtime.executor import EngineStats, Executor
from llmasos_runtime.load import load_runner
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.request import Request, Update
from llmasos_runtime.runner import ModelRunner
from llmasos_runtime.scheduler import Scheduler
from llmasos_runtime.sequence import Sequence
from llmasos_runtime.step_log import StepRecord

__all__ = ["Engine", "EngineOptions"]


class Engine:
    """Runs requests in shared steps; its methods may be called from any thread."""

    def __init__(
        self,
        plan: EnginePlan,
        tokenizer: Tokenizer,
        runner: ModelRunner,
        options: EngineOptions | None = None,
    ) -> None:
        """Most callers want `Engine.load`. Raises PlanError if the limits do not go together."""
        options = options or EngineOptions()
        self._plan = plan
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._limits = _limits(plan.limits, options, chunk_multiple=runner.chunk_multiple)
        scheduler = Scheduler(
            limits=self._limits,
            num_blocks=runner.num_blocks,
            block_size=runner.block_size,
            max_queue_size=options.max_queue_size,
            chunk_multiple=runner.chunk_multiple,
            reuse_prefixes=options.reuse_prefixes,
        )
        self._block_size = runner.block_size
        self._executor = Executor(scheduler, runner)
        self._hold: PlanHold | None = None

    @classmethod
    def load(cls, directory: Path | str, options: EngineOptions | None = None) -> Engine:
        """Check a plan's files and load its engine; raises PlanError in one line."""
        options = options or EngineOptions()
        directory = Path(directory)
        hold = PlanHold(directory)
        plan = EnginePlan.load(directory)
        tokenizer = Tokenizer.load(directory)
        engine = cls(plan, tokenizer, load_runner(plan, directory, options), options)
        engine._hold = hold
        return engine

    @property
    def plan(self) -> EnginePlan:
        return self._plan

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def block_size(self) -> int:
        """Tokens of one block of the KV cache."""
        return self._block_size

    def submit(self, request: Request, sink: Callable[[Update], None]) -> None:
        """Queue a request; `sink` gets its updates, exactly one of them final.

        sink: is called on the engine's thread, and must neither block nor raise.
        max_tokens is cut to what max_seq_len leaves.
        Raises InvalidRequestError, QueueFullError, EngineStoppedError.
        """
        sequence = self._sequence(request)
        self._executor.submit(sequence, Answer(request, self._detokenizer, sink))

    def cancel(self, request_id: str) -> bool:
        """End a request, whose last update says `abort`; False if it has ended already."""
        return self._executor.cancel(request_id)

    def abandon(self, request_id: str) -> None:
        """As `cancel`, a little later: without a lock, so that a destructor may call it."""
        self._executor.abandon(request_id)

    def stats(self) -> EngineStats:
        """Numbers for gauges."""
        return self._executor.stats()

    def step_log(self) -> tuple[StepRecord, ...]:
        """What the last steps were made of, oldest first."""
        return self._executor.steps().records()

    def close(self) -> None:
        """Stop; requests that have not finished get an EngineStoppedError. May be called again."""
        self._executor.close()
        if self._hold is not None:
            self._hold.release()

    def _sequence(self, request: Request) -> Sequence:
        prompt = request.prompt_token_ids
        self._check_prompt(prompt)
        params = request.params
        eos = () if params.ignore_eos else self._plan.eos_token_ids
        return Sequence(
            request_id=request.request_id,
            token_ids=list(prompt),
            params=params,
            max_len=min(len(prompt) + params.max_tokens, self._limits.max_seq_len),
            end_token_ids=frozenset((*eos, *params.stop_token_ids)),
            seed=secrets.randbits(64) if params.seed is None else params.seed,
            priority=params.priority,
            deadline=_deadline(params.deadline_ms),
        )

    def _check_prompt(self, prompt: tuple[int, ...]) -> None:
        if not prompt:
            raise InvalidRequestError("the prompt is empty: it must have at least one token")
        longest = self._limits.max_seq_len - 1
        if len(prompt) > longest:
            raise InvalidRequestError(
                f"the prompt has {len(prompt)} tokens, at most {longest} fit: max_seq_len is "
                f"{self._limits.max_seq_len}, and one is left for the answer"
            )
        vocab_size = self._plan.vocab_size
        if min(prompt) < 0 or max(prompt) >= vocab_size:
            wrong = next(i for i in prompt if not 0 <= i < vocab_size)
            raise InvalidRequestError(
                f"the prompt holds token {wrong}, token ids are between 0 and {vocab_size - 1}"
            )


def _deadline(deadline_ms: int | None) -> float:
    return math.inf if deadline_ms is None else time.monotonic() + deadline_ms / 1e3


def _limits(limits: Limits, options: EngineOptions, *, chunk_multiple: int) -> Limits:
    """The plan's limits, made smaller as asked; a full batch must leave room for a chunk."""
    for name in ("max_batch_size", "max_num_tokens"):
        value, most = getattr(options, name), getattr(limits, name)
        if value is not None and value > most:
            raise PlanError(f"{name} must be at most the plan's {most}, got {value}")
    max_num_tokens = options.max_num_tokens or limits.max_num_tokens
    if max_num_tokens < chunk_multiple:
        raise PlanError(
            f"max_num_tokens is {max_num_tokens}, with this KV cache it must be at least "
            f"{chunk_multiple}, a whole block"
        )
    max_batch_size = options.max_batch_size or limits.max_batch_size
    return Limits(
        max_batch_size=min(max_batch_size, max_num_tokens - chunk_multiple + 1),
        max_num_tokens=max_num_tokens,
        max_seq_len=limits.max_seq_len,
    )
