"""An engine whose requests TensorRT-LLM answers. It has never run with that package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmasos.engine.plan import EnginePlan, Limits
from llmasos.engine.plan_lock import PlanHold
from llmasos.forked import OwnProcess
from llmasos.generation_config import GenerationConfig
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.engine.admission import completed, limits_of, recommended_by, sequence_of
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.engine.request_output import RequestOutput
from llmasos_runtime.engine.step_log import StepRecord
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.sequences.request import Request, Update
from llmasos_runtime.tensorrt_llm.executor import TensorRTLLMExecutor
from llmasos_runtime.tensorrt_llm.load import BLOCK_SIZE, load_executor
from llmasos_runtime.text.detokenizer import Detokenizer


class TensorRTLLMEngine:
    """A RunningEngine; its methods may be called from any thread."""

    def __init__(
        self,
        plan: EnginePlan,
        tokenizer: Tokenizer,
        executor: TensorRTLLMExecutor,
        limits: Limits,
        hold: PlanHold,
        *,
        generation_config: GenerationConfig,
    ) -> None:
        """Most callers want `load`. hold: is released with the engine."""
        self._generation_config = generation_config
        self._plan = plan
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._executor = executor
        self._process = OwnProcess(f"the engine of {plan.name}")
        self._limits = limits
        self._hold = hold

    @classmethod
    def load(cls, directory: Path | str, options: EngineOptions | None = None) -> TensorRTLLMEngine:
        """Check the files of a plan and of its checkpoint, and have that loaded.

        Raises PlanError in one line, also where the package is not installed.
        """
        options = options or EngineOptions()
        hold = PlanHold(Path(directory))
        plan = EnginePlan.load(directory)
        tokenizer = Tokenizer.load(directory)
        limits = limits_of(plan.limits, options)
        recommended = recommended_by(directory, options)
        executor = load_executor(plan, limits, options)
        return cls(plan, tokenizer, executor, limits, hold, generation_config=recommended)

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
        return BLOCK_SIZE

    def submit(self, request: Request, sink: Callable[[Update], None]) -> None:
        """As `Engine.submit`; raises UnsupportedFieldError for what TensorRT-LLM cannot do."""
        self._process.check()
        request = completed(request, self._generation_config, self._tokenizer.special_tokens)
        sequence = sequence_of(request, self._plan, self._limits)
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
        """Nothing: what a step is made of is known to TensorRT-LLM alone."""
        self._process.check()
        return ()

    def close(self) -> None:
        """Stop; requests that have not finished get an EngineStoppedError. May be called again."""
        if not self._process.is_this:
            return
        self._executor.close()
        self._hold.release()
