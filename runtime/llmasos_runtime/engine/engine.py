"""A compiled engine in this process: load a plan, submit requests, get updates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmasos.engine.plan import EnginePlan
from llmasos.engine.plan_lock import PlanHold
from llmasos.forked import OwnProcess
from llmasos.generation_config import GenerationConfig
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.engine.admission import (
    check_top_k,
    completed,
    limits_of,
    may_speculate,
    recommended_by,
    sequence_of,
)
from llmasos_runtime.engine.executor import Executor
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.engine.request_output import RequestOutput
from llmasos_runtime.engine.step_log import StepRecord
from llmasos_runtime.load import load_runner
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.runner import ModelRunner
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.request import Request, Update
from llmasos_runtime.text.detokenizer import Detokenizer

__all__ = ["Engine", "EngineOptions"]


class Engine:
    """Runs requests in shared steps; its methods may be called from any thread.

    In a process that was forked from the one that loaded it they raise ForkedProcessError, and
    `close` and `abandon` do nothing.
    """

    def __init__(
        self,
        plan: EnginePlan,
        tokenizer: Tokenizer,
        runner: ModelRunner,
        options: EngineOptions | None = None,
        *,
        generation_config: GenerationConfig | None = None,
    ) -> None:
        """Most callers want `Engine.load`.

        generation_config: fills in what requests leave open. Raises PlanError if the limits
        do not go together.
        """
        options = options or EngineOptions()
        self._plan = plan
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._capabilities = capabilities = runner.capabilities
        self._limits = limits_of(plan.limits, options, chunk_multiple=capabilities.chunk_multiple)
        scheduler = Scheduler(
            self._limits,
            capabilities,
            max_queue_size=options.max_queue_size,
            reuse_prefixes=options.reuse_prefixes,
        )
        self._generation_config = generation_config or GenerationConfig()
        self._speculate = may_speculate(plan, options)
        self._executor = Executor(scheduler, runner)
        self._process = OwnProcess(f"the engine of {plan.name}")
        self._hold: PlanHold | None = None

    @classmethod
    def load(cls, directory: Path | str, options: EngineOptions | None = None) -> Engine:
        """Check a plan's files and load its engine; raises PlanError in one line."""
        options = options or EngineOptions()
        directory = Path(directory)
        hold = PlanHold(directory)
        plan = EnginePlan.load(directory)
        tokenizer = Tokenizer.load(directory)
        recommended = recommended_by(directory, options)
        runner = load_runner(plan, directory, options)
        engine = cls(plan, tokenizer, runner, options, generation_config=recommended)
        engine._hold = hold
        return engine

    @property
    def plan(self) -> EnginePlan:
        return self._plan

    @property
    def tokenizer(self) -> Tokenizer:
        self._process.check()  # each request begins with it
        return self._tokenizer

    @property
    def block_size(self) -> int:
        """Tokens of one block of the KV cache."""
        return self._capabilities.block_size

    def submit(self, request: Request, sink: Callable[[Update], None]) -> None:
        """Queue a request; `sink` gets its updates, exactly one of them final.

        sink: is called on the engine's thread, and must neither block nor raise.
        max_tokens is cut to what max_seq_len leaves.
        Raises InvalidRequestError, QueueFullError, EngineStoppedError.
        """
        self._process.check()
        request = completed(request, self._generation_config, self._tokenizer.special_tokens)
        check_top_k(request.params, self._capabilities.max_top_k)
        sequence = sequence_of(request, self._plan, self._limits, speculate=self._speculate)
        self._executor.submit(sequence, RequestOutput(request, self._detokenizer, sink))

    def cancel(self, request_id: str) -> bool:
        """End a request, whose last update says `abort`; False if it has ended already."""
        self._process.check()
        return self._executor.cancel(request_id)

    def abandon(self, request_id: str) -> None:
        """As `cancel`, a little later: without a lock, so that a destructor may call it."""
        if self._process.is_this:
            self._executor.abandon(request_id)

    def stats(self) -> EngineStats:
        """Numbers for gauges."""
        self._process.check()
        return self._executor.stats()

    def step_log(self) -> tuple[StepRecord, ...]:
        """What the last steps were made of, oldest first."""
        self._process.check()
        return self._executor.steps().records()

    def close(self) -> None:
        """Stop; requests that have not finished get an EngineStoppedError. May be called again."""
        if not self._process.is_this:
            return
        self._executor.close()
        if self._hold is not None:
            self._hold.release()
