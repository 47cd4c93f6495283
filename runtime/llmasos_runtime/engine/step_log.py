"""A log of the last steps, which shows what the scheduler did."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from llmasos_runtime.sequences.step import Step

_log = logging.getLogger("llmasos.steps")
_LENGTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """The record of one step.

    index: counts from 0. duration_s: time of the forward, including the wait for it.
    num_decode_tokens: includes num_draft_tokens.
    num_preempted: sequences that were preempted to free KV blocks for this step.
    """

    index: int
    num_sequences: int
    num_prefill_tokens: int
    num_decode_tokens: int
    num_draft_tokens: int
    num_preempted: int
    duration_s: float


class StepLog:
    """The last 1024 steps; each is also a debug line of the logger `llmasos.steps`."""

    def __init__(self) -> None:
        self.num_steps = 0
        self._records: deque[StepRecord] = deque(maxlen=_LENGTH)

    def add(self, step: Step, duration_s: float) -> None:
        """Records a step before it is committed, while its shares still describe it."""
        record = StepRecord(
            index=self.num_steps,
            num_sequences=len(step.shares),
            num_prefill_tokens=step.num_tokens - step.num_decode_tokens,
            num_decode_tokens=step.num_decode_tokens,
            num_draft_tokens=step.num_draft_tokens,
            num_preempted=step.num_preempted,
            duration_s=duration_s,
        )
        self.num_steps += 1
        self._records.append(record)
        _log.debug(
            "step %d: %d sequences, %d prefill and %d decode tokens, %d preempted, in %.1f ms",
            record.index,
            record.num_sequences,
            record.num_prefill_tokens,
            record.num_decode_tokens,
            record.num_preempted,
            duration_s * 1e3,
        )

    @property
    def num_prefill_tokens(self) -> int:
        """Tokens of prompts that the last step computed."""
        return self._records[-1].num_prefill_tokens if self._records else 0

    def records(self) -> tuple[StepRecord, ...]:
        """The records, oldest first."""
        return tuple(self._records)
