"""One token stream on its way from prompt to finish reason, as the scheduler sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from llmasos.outputs import FinishReason
from llmasos.sampling import SamplingParams

from llmasos_runtime.sequences.drafter import Drafter

ROOT = 0
"""prefix_number of a sequence none of whose blocks is known to the prefix cache."""


class SchedulingRank(NamedTuple):
    """How much a sequence matters: the least rank the most. See `waiting.WaitingQueue`."""

    level: int
    arrival: int


@dataclass(slots=True, eq=False, kw_only=True)
class Sequence:
    """The tokens of one request and how far the KV cache has followed them.

    max_len: prompt and output tokens that it may reach. end_token_ids: any of them ends it.
    seed: in [0, 2^64), what its draws depend on. priority: higher is sooner.
    deadline: the time by `time.monotonic()` at which it ends without an answer.
    rank: is given when it is queued. drafter: guesses its next tokens, if any may be guessed.

    num_cached_tokens: of the prompt, found in the KV cache when it was admitted.
    num_prefill_tokens: how many tokens it had when it was last admitted: the prompt, or that
        and the answer so far. num_preemptions: how often it had to give its blocks back.
    capacity: tokens that its blocks hold.
    num_known_blocks, prefix_number: how many of its blocks the prefix cache was told of, and
        the number of the last one there.
    num_draft_tokens, num_accepted_tokens: guesses that were computed, and those that were right.

    num_computed_tokens <= len(token_ids) <= max_len; the difference between the first two is
    the work left. block_table covers every computed token, and is empty if it does not run.
    """

    request_id: str
    token_ids: list[int]
    params: SamplingParams
    max_len: int
    end_token_ids: frozenset[int]
    seed: int
    priority: int = 0
    deadline: float = math.inf
    drafter: Drafter | None = None
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
    capacity: int = field(default=0, init=False)
    finish_reason: FinishReason | None = field(default=None, init=False)

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
        """All but its last token is computed, and that one was sampled since it runs."""
        return self.num_computed_tokens >= self.num_prefill_tokens

    @property
    def max_cached_tokens(self) -> int:
        """The most tokens that its blocks must hold; the last one is never computed."""
        return self.max_len - 1

    @property
    def may_grow(self) -> bool:
        """It may need more blocks than it has."""
        return self.capacity < self.max_cached_tokens

    def forbidden_token_ids(self, output_index: int) -> tuple[int, ...]:
        """What may not be sampled after so many output tokens: no end before min_tokens."""
        if output_index >= self.params.min_tokens:
            return ()
        return tuple(sorted(self.end_token_ids))

    def append(self, token_id: int) -> None:
        """Take a sampled token; it may finish the sequence."""
        self.token_ids.append(token_id)
        if token_id in self.end_token_ids:
            self.finish_reason = FinishReason.STOP
        elif len(self.token_ids) >= self.max_len:
            self.finish_reason = FinishReason.LENGTH

    def preempt(self) -> None:
        """Forget what was computed; its blocks have gone back."""
        self.num_preemptions += 1
        self.num_computed_tokens = self.capacity = 0
        self.block_table = []
