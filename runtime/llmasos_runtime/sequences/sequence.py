"""One request's tokens from prompt to finish reason, as the scheduler sees them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from llmasos.outputs import FinishReason
from llmasos.sampling import SamplingParams

from llmasos_runtime.sampling.logit_changes import LogitChanges
from llmasos_runtime.sequences.drafter import Drafter
from llmasos_runtime.sequences.given_drafts import GivenDrafts

ROOT = 0
"""The prefix_number of a sequence without blocks in the prefix cache."""


class SchedulingRank(NamedTuple):
    """Scheduling order: the lowest rank is admitted first and preempted last."""

    level: int
    arrival: int


@dataclass(slots=True, eq=False, kw_only=True)
class Sequence:
    """The tokens of one request and how many of them the KV cache holds.

    max_len: limit for prompt and output tokens together. end_token_ids: any of them ends it.
    seed: in [0, 2^64), for its draws. priority: higher is sooner.
    deadline: the time by `time.monotonic()` at which it ends without an answer.
    logit_changes: what changes its logits, if something does.
    wants_logits: the logits of its tokens are reported.
    rank: set when it is queued. drafter: drafts its next tokens, or None.
    encoder_token_ids: what the network's encoder sees, if it has one; encoder_table: its blocks.

    num_cached_tokens: prompt tokens found in the prefix cache when it was first admitted.
    num_prefill_tokens: its number of tokens when it was last admitted: the prompt, and after a
        preemption the answer so far. num_preemptions: how often it was preempted.
    capacity: tokens that its blocks hold.
    num_known_blocks, prefix_number: number of its blocks in the prefix cache, and the number of
        the last of them there.
    num_draft_tokens, num_accepted_tokens: draft tokens computed and accepted.
    arrival_ns, first_scheduled_ns: when it came, and was admitted first, by `time.monotonic_ns()`.

    num_computed_tokens <= len(token_ids) <= max_len; the difference between the first two is the
    work left. block_table covers every computed token, and is empty unless the sequence runs.
    """

    request_id: str
    token_ids: list[int]
    params: SamplingParams
    max_len: int
    end_token_ids: frozenset[int]
    seed: int
    priority: int = 0
    deadline: float = math.inf
    drafter: Drafter | GivenDrafts | None = None
    wants_logits: bool = False
    encoder_token_ids: tuple[int, ...] = ()
    arrival_ns: int = field(default_factory=time.monotonic_ns)
    logit_changes: LogitChanges | None = None
    rank: SchedulingRank = field(default=SchedulingRank(0, 0), init=False)
    num_prompt_tokens: int = field(init=False)
    num_prefill_tokens: int = field(init=False)
    num_preemptions: int = field(default=0, init=False)
    num_computed_tokens: int = field(default=0, init=False)
    num_cached_tokens: int = field(default=0, init=False)
    num_draft_tokens: int = field(default=0, init=False)
    num_accepted_tokens: int = field(default=0, init=False)
    num_known_blocks: int = field(default=0, init=False)
    prefix_number: int = field(default=ROOT, init=False)
    block_table: list[int] = field(default_factory=list[int], init=False)
    encoder_table: list[int] = field(default_factory=list[int], init=False)
    capacity: int = field(default=0, init=False)
    finish_reason: FinishReason | None = field(default=None, init=False)
    first_scheduled_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.num_prompt_tokens = self.num_prefill_tokens = len(self.token_ids)
        assert 0 < self.num_prompt_tokens < self.max_len

    @property
    def num_pending_tokens(self) -> int:
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def is_decoding(self) -> bool:
        """True if all tokens but the last are computed, and that one was sampled since
        admission.
        """
        return self.num_computed_tokens >= self.num_prefill_tokens

    @property
    def max_cached_tokens(self) -> int:
        """The most tokens that its blocks must hold; the last one is never computed."""
        return self.max_len - 1

    @property
    def may_grow(self) -> bool:
        """True if it may need more blocks than it has."""
        return self.capacity < self.max_cached_tokens

    def forbidden_token_ids(self, output_index: int) -> tuple[int, ...]:
        """Tokens that must not be sampled at this index: end tokens before min_tokens."""
        if output_index >= self.params.min_tokens:
            return ()
        return tuple(sorted(self.end_token_ids))

    def append(self, token_id: int) -> None:
        """Appends a sampled token, which may finish the sequence."""
        self.token_ids.append(token_id)
        if token_id in self.end_token_ids:
            self.finish_reason = FinishReason.STOP
        elif len(self.token_ids) >= self.max_len:
            self.finish_reason = FinishReason.LENGTH

    def preempt(self) -> None:
        """Resets what was computed; its blocks have been freed."""
        self.num_preemptions += 1
        self.num_computed_tokens = self.capacity = 0
        self.block_table = []
