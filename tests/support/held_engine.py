"""An engine whose answers the test gives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from llmasos.outputs import FinishReason, Usage
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.sequences.request import Request, Update

Sink = Callable[[Update], None]


class AtOnce:
    """Delivers each update in the thread that puts it."""

    def __init__(self, deliver: Callable[[Sequence[Update]], object]) -> None:
        self._deliver = deliver

    def put(self, update: Update) -> None:
        self._deliver([update])

    def flush(self, timeout_s: float) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class HeldEngine:
    """Accepts requests; the test says what becomes of them."""

    plan: Any = field(
        default_factory=lambda: SimpleNamespace(
            eos_token_ids=(2,), limits=SimpleNamespace(max_seq_len=512), encoder_decoder=None
        )
    )
    tokenizer: Any = field(default_factory=lambda: SimpleNamespace(decode=str, encode=list))
    sinks: dict[str, Sink] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    refuses: Exception | None = None
    closed: bool = False
    block_size: int = 4

    def submit(self, request: Request, sink: Sink) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.requests.append(request)
        self.sinks[request.request_id] = sink

    def cancel(self, request_id: str) -> bool:
        sink = self.sinks.pop(request_id, None)
        if sink is not None:
            sink(Update(request_id=request_id, finish_reason=FinishReason.ABORT, usage=usage(1)))
            self.cancelled.set()
        return sink is not None

    def stats(self) -> EngineStats:
        return EngineStats(
            num_running=len(self.sinks),
            num_waiting=2,
            num_blocks=10,
            num_free_blocks=7,
            num_reused_blocks=3,
            num_preemptions=6,
            num_steps=5,
            num_draft_tokens=9,
            num_accepted_tokens=4,
        )

    def close(self) -> None:
        self.closed = True

    def emit(self, number: int = 0, **fields: Any) -> None:
        request_id = self.requests[number].request_id
        self.sinks[request_id](Update(request_id=request_id, **fields))


def usage(num_output_tokens: int) -> Usage:
    return Usage(num_prompt_tokens=3, num_output_tokens=num_output_tokens)
