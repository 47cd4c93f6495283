"""The methods of an engine that the model `engine` uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.sequences.request import Request, Update

if TYPE_CHECKING:
    from llmasos.engine.plan import EnginePlan
    from llmasos.text.tokenizer import Tokenizer


class ServedEngine(Protocol):
    """An engine as Triton's model sees it; see `llmasos_runtime.engine.engine.Engine`."""

    @property
    def plan(self) -> EnginePlan: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def block_size(self) -> int: ...
    def submit(self, request: Request, sink: Callable[[Update], None]) -> None: ...
    def cancel(self, request_id: str) -> bool: ...
    def stats(self) -> EngineStats: ...
    def close(self) -> None: ...
