"""An engine that answers requests, whatever it is that runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from llmasos.engine.plan import EnginePlan
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.engine.step_log import StepRecord
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.sequences.request import Request, Update


class RunningEngine(Protocol):
    """What `Engine` and `TensorRTLLMEngine` have in common, which is all that clients use.

    Every method may be called from any thread; each is told in `Engine`.
    """

    @property
    def plan(self) -> EnginePlan: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def block_size(self) -> int: ...
    def submit(self, request: Request, sink: Callable[[Update], None]) -> None: ...
    def cancel(self, request_id: str) -> bool: ...
    def abandon(self, request_id: str) -> None: ...
    def stats(self) -> EngineStats: ...
    def step_log(self) -> tuple[StepRecord, ...]: ...
    def close(self) -> None: ...


def open_engine(directory: Path | str, options: EngineOptions | None = None) -> RunningEngine:
    """Check a plan's files and load its engine by its target; raises PlanError in one line."""
    if EnginePlan.read(directory).target == "tensorrt-llm":
        # Imported when needed, as the code of every target is.
        from llmasos_runtime.tensorrt_llm.engine import TensorRTLLMEngine  # noqa: PLC0415

        return TensorRTLLMEngine.load(directory, options)
    return Engine.load(directory, options)
