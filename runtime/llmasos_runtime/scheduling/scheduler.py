"""Continuous (in-flight) batching with chunked prefill and preemption (Orca: Yu et al., OSDI 2022).

There is no prefill phase and no decode phase. A sequence has pending tokens; a step hands out a
token budget. A long prompt takes several steps (chunked prefill, Agrawal et al.,
arXiv:2308.16369), and a decoding sequence is one with a single pending token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from operator import attrgetter

from llmasos.engine.plan import Limits
from llmasos.errors import InvalidRequestError, QueueFullError
from llmasos.outputs import FinishReason

from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.kv_cache.kv_memory import kv_memory
from llmasos_runtime.sampling.report import TokenReport
from llmasos_runtime.scheduling.followers import Followers
from llmasos_runtime.scheduling.prefill_budget import divide
from llmasos_runtime.scheduling.speculation import Speculation
from llmasos_runtime.scheduling.waiting import WaitingQueue
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SequenceProgress, Share, Step

_RANK = attrgetter("rank")


class Scheduler:
    """Moves sequences from waiting to running to finished.

    The first in the queue is admitted first, whatever its size, when there are free blocks for its
    tokens, and one more for each running sequence that may grow. Its blocks grow with it. When none
    is free, the running sequence of the lowest priority, and of those the latest, is preempted: its
    blocks are freed, and it waits before the others of its priority. When admitted again it
    recomputes its tokens (Kwon et al., arXiv:2309.06180), except those that the prefix cache has.
    There is no livelock: a sequence, whose tokens are kept, grows once into each block, only growth
    preempts, and the first in rank, which fits alone, is never preempted.

    capabilities: those of the runner.
    reuse_prefixes: whether a prompt shares full blocks with earlier sequences (prefix caching).
    """

    def __init__(
        self,
        limits: Limits,
        capabilities: Capabilities,
        *,
        max_queue_size: int,
        reuse_prefixes: bool = True,
    ) -> None:
        self._chunk_multiple = capabilities.chunk_multiple
        assert limits.max_num_tokens >= limits.max_batch_size + self._chunk_multiple - 1
        self._limits = limits
        self._memory = kv_memory(capabilities, limits, reuse_prefixes=reuse_prefixes)
        self._speculation = Speculation(self._memory, max_drafts=capabilities.max_draft_tokens)
        self._max_queue_size = max_queue_size
        self._waiting = WaitingQueue[Sequence]()
        self._followers = Followers(self._waiting, share_prefixes=reuse_prefixes)
        self._running: list[Sequence] = []
        self._next_deadline = math.inf  # none that is known is earlier
        self.num_preemptions = 0

    @property
    def num_waiting(self) -> int:
        return len(self._waiting) + len(self._followers)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def max_running(self) -> int:
        return self._limits.max_batch_size

    @property
    def num_prefilling(self) -> int:
        """Running sequences whose prompt is not wholly computed."""
        return sum(not sequence.is_decoding for sequence in self._running)

    @property
    def num_paused(self) -> int:
        return self._waiting.num_preempted

    @property
    def block_size(self) -> int:
        return self._memory.block_size

    @property
    def num_blocks(self) -> int:
        return self._memory.num_blocks

    @property
    def num_free_blocks(self) -> int:
        """Blocks in no running sequence; some may hold cached prefixes."""
        return self._memory.num_free

    @property
    def num_reused_blocks(self) -> int:
        return self._memory.num_reused_blocks

    @property
    def num_draft_tokens(self) -> int:
        return self._speculation.num_draft_tokens

    @property
    def num_accepted_tokens(self) -> int:
        return self._speculation.num_accepted_tokens

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    def add(
        self, sequence: Sequence, followers: SequenceOf[Sequence] = (), is_admitted: bool = False
    ) -> None:
        """Queues a sequence; raises QueueFullError, or InvalidRequestError if it can never fit.

        followers: other answers to its prompt, which share the blocks that it computes.
        is_admitted: it goes on with what ran before, and is queued however many wait.
        """
        lengths = (sequence.max_cached_tokens, len(sequence.encoder_token_ids))
        needed = sum(blocks_for(length, self.block_size) for length in lengths)
        if needed > self.num_blocks:
            raise InvalidRequestError(
                f"{1 + sum(lengths)} tokens (prompt and max_tokens) need {needed} KV blocks of "
                f"{self.block_size} tokens, the cache has {self.num_blocks}"
            )
        if self.num_waiting >= self._max_queue_size and not is_admitted:
            raise QueueFullError(
                f"Exceeds maximum queue size: {self.num_waiting} requests are already waiting, "
                f"at most {self._max_queue_size} may"
            )
        self._waiting.add(sequence)
        self._followers.add(sequence, followers)
        self._next_deadline = min(self._next_deadline, sequence.deadline)

    def schedule(self) -> Step:
        """Hands out the budget: to decoding sequences first, so that no prompt stalls a stream."""
        num_before = self.num_preemptions
        self._grow()
        num_preempted = self.num_preemptions - num_before
        if self._waiting:
            self._admit()
        running = self._running
        decoding = [s for s in running if s.num_computed_tokens >= s.num_prefill_tokens]
        budget = self._limits.max_num_tokens
        if len(decoding) == len(running):
            shares = self._speculation.shares(decoding, budget=budget)
        else:
            shares = [Share(sequence, 1) for sequence in decoding]
            prefilling = [s for s in running if not s.is_decoding]
            budget -= len(shares)
            shares += divide(prefilling, budget, chunk_multiple=self._chunk_multiple)
        beforehand = (self._memory.take_copies(), self._memory.take_texts())
        return Step(tuple(shares), num_preempted, *beforehand)

    def commit(
        self,
        step: Step,
        sampled: SequenceOf[int | None],
        reports: SequenceOf[TokenReport | None] = (),
    ) -> list[SequenceProgress]:
        """Records the results of a step.

        sampled: a token for each of `step.sampled`; None, where none can be chosen, ends its
        sequence. reports: of each of them, or none at all.
        A sequence that finished while the step ran gets nothing. Draft tokens after the first
        rejected one are dropped; their places in the KV cache are overwritten. A sequence that ends
        in an error adds nothing to the prefix cache.
        """
        progress: list[SequenceProgress] = []
        begin = 0
        for share in step.shares:
            sequence, num_tokens, drafts = share
            num_pending = len(sequence.token_ids) - sequence.num_computed_tokens
            first = begin
            if num_tokens - len(drafts) == num_pending:
                begin += 1 + len(drafts)
            if sequence.finish_reason is not None:
                continue
            if first < begin:
                taken = self._speculation.take(sequence, drafts, sampled[first:begin])
                progress.append(taken.with_reports(reports[first:begin]) if reports else taken)
                sequence.num_computed_tokens = len(sequence.token_ids) - 1
                if progress[-1].error is not None:
                    continue
            else:
                sequence.num_computed_tokens += num_tokens
            self._memory.remember(sequence)
        self._retire([p.sequence for p in progress if p.sequence.finish_reason is not None])
        for one in progress:
            self._followers.release(one.sequence)
        return progress

    def finish(self, sequence: Sequence, reason: FinishReason) -> bool:
        """Ends a sequence now, wherever it is; False if it had ended before."""
        if sequence.finish_reason is not None:
            return False
        sequence.finish_reason = reason
        if sequence.block_table:
            self._retire([sequence])
        elif not self._followers.remove(sequence):
            self._waiting.remove(sequence)
        self._followers.release(sequence)
        return True

    def expire(self, now: float) -> list[Sequence]:
        """Ends sequences whose deadline has passed, wherever they are."""
        if now < self._next_deadline:
            return []
        live = (*self._waiting, *self._followers, *self._running)
        late = [s for s in live if s.deadline <= now]
        for sequence in late:
            self.finish(sequence, FinishReason.ABORT)
        self._next_deadline = min((s.deadline for s in live if s.deadline > now), default=math.inf)
        return late

    def _grow(self) -> None:
        """Allocates a block to each sequence that needs one, preempting lower ranks if none is
        free.
        """
        full = [s for s in self._running if s.num_computed_tokens >= s.capacity]
        for sequence in full:
            while sequence.block_table and not self._memory.num_free:
                self._preempt(max(self._running, key=_RANK))
            if sequence.block_table:
                self._memory.grow(sequence)

    def _preempt(self, sequence: Sequence) -> None:
        self._retire([sequence])
        sequence.preempt()
        self._waiting.put_back(sequence)
        self.num_preemptions += 1

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._limits.max_batch_size:
            num_growing = sum(sequence.may_grow for sequence in self._running)
            if not self._memory.allocate(self._waiting.first, num_reserved=num_growing):
                break
            self._running.append(self._waiting.pop())

    def _retire(self, ended: Iterable[Sequence]) -> None:
        for sequence in ended:
            self._memory.free(sequence)
            self._running.remove(sequence)
