"""A loaded engine in this process: submit requests, get updates."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from threading import Lock
from typing import Protocol

from llmasos.engine.plan import EnginePlan, Limits
from llmasos.engine.plan_lock import PlanHold
from llmasos.forked import OwnProcess
from llmasos.generation_config import GenerationConfig
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.engine.admission import (
    check_executor,
    check_free,
    check_logits,
    check_logits_size,
    check_top_k,
    completed,
    limits_of,
    may_speculate,
    sequences_of,
)
from llmasos_runtime.engine.beam_search import BeamSearch, Sink
from llmasos_runtime.engine.decoder_prompt import task_configs, with_decoder_prompt
from llmasos_runtime.engine.executor import Executor
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.engine.request_output import Answer, RequestOutput
from llmasos_runtime.engine.step_log import StepRecord
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.runner import ModelRunner
from llmasos_runtime.sampling.grammar import Grammars
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.request import Request
from llmasos_runtime.text.detokenizer import Detokenizer

__all__ = ["Engine", "EngineOptions"]


class RequestExecutor(Protocol):
    """Runs requests until each has had its final update; see `Executor`."""

    def submit(self, answers: SequenceOf[Answer], *, is_admitted: bool = False) -> None: ...
    def cancel(self, request_id: str) -> bool: ...
    def abandon(self, request_id: str) -> None: ...
    def stats(self) -> EngineStats: ...
    def step_log(self) -> tuple[StepRecord, ...]: ...
    def close(self) -> None: ...


class Engine:
    """Runs requests in shared steps; its methods are thread-safe.

    In a process that was forked from the one that loaded it they raise ForkedProcessError, and
    `close` and `abandon` do nothing.
    """

    def __init__(
        self,
        plan: EnginePlan,
        tokenizer: Tokenizer,
        executor: RequestExecutor,
        *,
        limits: Limits,
        block_size: int,
        max_top_k: int | None = None,
        max_draft_tokens: int = 0,
        speculate: bool = False,
        generation_config: GenerationConfig | None = None,
        hold: PlanHold | None = None,
    ) -> None:
        """Most callers want `llmasos_runtime.load.load_engine`.

        executor: runs the requests; it is closed with the engine. limits: at most the plan's.
        block_size: tokens of a KV block. max_top_k, max_draft_tokens: see Capabilities.
        speculate: whether to use draft tokens if a request does not say. generation_config: fills
        the fields that requests leave open.
        hold: the lock on the plan's files, released with the engine.
        """
        self._plan = plan
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._grammars = Grammars(
            tokenizer, vocab_size=plan.vocab_size, eos_token_ids=plan.eos_token_ids
        )
        self._executor = executor
        self._limits = limits
        self._block_size = block_size
        self._max_top_k = max_top_k
        self._max_draft_tokens = max_draft_tokens
        self._speculate = speculate
        self._generation_config = generation_config or GenerationConfig()
        self._task_configs = task_configs(plan)
        self._process = OwnProcess(f"the engine of {plan.name}")
        self._hold = hold
        self._searches: dict[str, BeamSearch] = {}
        self._searches_lock = Lock()

    @classmethod
    def over(
        cls,
        plan: EnginePlan,
        tokenizer: Tokenizer,
        runner: ModelRunner,
        options: EngineOptions | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        hold: PlanHold | None = None,
    ) -> Engine:
        """Makes an engine that schedules steps and computes them with a runner.

        Raises PlanError if the limits contradict each other.
        """
        options = options or EngineOptions()
        capabilities = runner.capabilities
        limits = limits_of(plan.limits, options, chunk_multiple=capabilities.chunk_multiple)
        scheduler = Scheduler(
            limits,
            capabilities,
            max_queue_size=options.max_queue_size,
            reuse_prefixes=options.reuse_prefixes,
        )
        return cls(
            plan,
            tokenizer,
            Executor(scheduler, runner),
            limits=limits,
            block_size=capabilities.block_size,
            max_top_k=capabilities.max_top_k,
            max_draft_tokens=capabilities.max_draft_tokens,
            speculate=may_speculate(plan, options),
            generation_config=generation_config,
            hold=hold,
        )

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
        return self._block_size

    def submit(self, request: Request, sink: Sink) -> None:
        """Queues a request; `sink` gets its updates, of which exactly one says `is_last`.

        sink: is called on the engine's thread, and must neither block nor raise.
        max_tokens is reduced to fit max_seq_len.
        Raises InvalidRequestError, UnsupportedFieldError for what the executor does not support,
        QueueFullError, EngineStoppedError.
        """
        self._process.check()
        request = with_decoder_prompt(request, self._plan, self._limits)
        config = self._generation_config
        if request.task:
            config = self._task_configs[request.task].over(config)
        request = completed(request, config, self._tokenizer, self._grammars)
        check_top_k(request.params, self._max_top_k)
        check_logits(request, self._plan)
        check_logits_size(request, self._plan)
        check_executor(request, self._plan, max_draft_tokens=self._max_draft_tokens)
        if request.params.beam_width > 1:
            self._search(request, sink)
        else:
            check_free(request.request_id, self._searches)
            self._submit(request, sink)

    def _submit(self, request: Request, sink: Sink, *, is_admitted: bool = False) -> None:
        """is_admitted: it is part of a request that was admitted before."""
        sequences = sequences_of(request, self._plan, self._limits, speculate=self._speculate)
        outputs = (
            RequestOutput(request, self._detokenizer, sink, index=i) for i in range(len(sequences))
        )
        answers = [*map(Answer, sequences, outputs)]
        self._executor.submit(answers, is_admitted=is_admitted)

    def _search(self, request: Request, sink: Sink) -> None:
        """Begins a search of beams."""
        name = request.request_id
        search = BeamSearch(
            request,
            sequences_of(request, self._plan, self._limits),
            self._detokenizer,
            sink,
            submit=self._submit,
            cancel=self._executor.cancel,
            end=lambda: self._searches.pop(name, None),
        )
        with self._searches_lock:
            check_free(name, self._searches)
            self._searches[name] = search
        try:
            search.start()
        except BaseException:
            del self._searches[name]
            raise

    def cancel(self, request_id: str) -> bool:
        """Ends a request, whose last update says `abort`; False if it has ended already."""
        self._process.check()
        search = self._searches.get(request_id)
        return self._executor.cancel(request_id) if search is None else search.cancel()

    def abandon(self, request_id: str) -> None:
        """Ends a request a little later; it takes no lock, so a destructor may call it."""
        if not self._process.is_this:
            return
        search = self._searches.get(request_id)
        if search is None:
            self._executor.abandon(request_id)
        else:
            search.abandon(self._executor.abandon)

    def stats(self) -> EngineStats:
        """The current counts, for metrics."""
        self._process.check()
        return self._executor.stats()

    def step_log(self) -> tuple[StepRecord, ...]:
        """Records of the last steps, oldest first; empty if TensorRT-LLM runs them."""
        self._process.check()
        return self._executor.step_log()

    def close(self) -> None:
        """Stops; unfinished requests get an EngineStoppedError. May be called again."""
        if not self._process.is_this:
            return
        self._executor.close()
        if self._hold is not None:
            self._hold.release()
