"""Choose what runs in the next step (in-flight batching, Orca: Yu et al., OSDI 2022).

There is no prefill phase and no decode phase here. A sequence has pending tokens; a step
hands out a token budget. A long prompt simply takes several steps (chunked prefill,
Agrawal et al., arXiv:2308.16369), and a decoding sequence is one with a single pending
token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as SequenceOf

from llmasos.errors import InvalidRequestError, QueueFullError
from llmasos.outputs import FinishReason
from llmasos.plan import Limits

from llmasos_runtime.blocks import BlockPool, blocks_for
from llmasos_runtime.prefix_cache import ROOT, Prefix, PrefixCache
from llmasos_runtime.sequence import Sequence
from llmasos_runtime.step import Progress, Share, Step


class Scheduler:
    """Sequences wait, run and finish; each stands in one place at a time.

    A sequence is admitted when the blocks for the longest that it may become are free, and
    keeps them until it finishes: so a running one is never evicted. Admission is in the order
    of arrival, and what waits first is admitted first whatever its size: none starves.

    num_blocks: KV blocks of block_size tokens. chunk_multiple: a chunk that is not its
    prompt's last one ends where the number of computed tokens is a multiple of this.
    reuse_prefixes: a prompt that begins like an earlier sequence shares its full blocks.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        num_blocks: int,
        block_size: int,
        max_queue_size: int,
        chunk_multiple: int = 1,
        reuse_prefixes: bool = True,
    ) -> None:
        assert limits.max_num_tokens >= limits.max_batch_size + chunk_multiple - 1
        self._limits = limits
        self._prefixes = PrefixCache(block_size) if reuse_prefixes else None
        self._pool = BlockPool(num_blocks, forget=self._forget)
        self._block_size = block_size
        self._max_queue_size = max_queue_size
        self._chunk_multiple = chunk_multiple
        self._waiting: deque[Sequence] = deque()
        self.num_reused_blocks = 0
        self._running: list[Sequence] = []

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_blocks(self) -> int:
        return self._pool.num_blocks

    @property
    def num_free_blocks(self) -> int:
        """Blocks in no running sequence; some may hold prefixes that can be shared."""
        return self._pool.num_free

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; raises QueueFullError, or InvalidRequestError if it never fits."""
        needed = self._blocks_of(sequence)
        if needed > self.num_blocks:
            raise InvalidRequestError(
                f"{sequence.max_len} tokens (prompt and max_tokens) need {needed} KV blocks of "
                f"{self._block_size} tokens, the cache has {self.num_blocks}"
            )
        if len(self._waiting) >= self._max_queue_size:
            raise QueueFullError(
                f"{len(self._waiting)} requests are already waiting, at most "
                f"{self._max_queue_size} may"
            )
        self._waiting.append(sequence)

    def schedule(self) -> Step:
        """Hand out the budget: to decoding sequences first, so that no prompt stalls a stream."""
        self._admit()
        decoding = [s for s in self._running if s.is_decoding]
        shares = [Share(sequence, 1) for sequence in decoding]
        budget = self._limits.max_num_tokens - len(shares)
        for sequence in self._running:
            if budget == 0:
                break
            if not sequence.is_decoding:
                count = self._chunk(sequence, budget)
                if count == 0:
                    break  # too little is left for a chunk; in order, so that none is overtaken
                shares.append(Share(sequence, count))
                budget -= count
        return Step(tuple(shares))

    def commit(self, step: Step, sampled: SequenceOf[int]) -> list[Progress]:
        """Record what a step computed; sampled: a token for each of `step.sampled`.

        A sequence that finished while the step ran gets nothing.
        """
        tokens = iter(sampled)
        progress: list[Progress] = []
        for share in step.shares:
            sequence = share.sequence
            token_id = next(tokens) if share.is_sampled else None
            if sequence.finish_reason is not None:
                continue
            sequence.num_computed_tokens += share.num_tokens
            self._remember(sequence)
            if token_id is not None:
                sequence.append(token_id)
                progress.append(Progress(sequence, (token_id,), sequence.finish_reason))
        self._retire([p.sequence for p in progress if p.finish_reason is not None])
        return progress

    def finish(self, sequence: Sequence, reason: FinishReason) -> bool:
        """End a sequence now, wherever it is; False if it had ended before."""
        if sequence.finish_reason is not None:
            return False
        sequence.finish_reason = reason
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        else:
            self._retire([sequence])
        return True

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._limits.max_batch_size:
            if not self._give_blocks(self._waiting[0]):
                break
            self._running.append(self._waiting.popleft())

    def _give_blocks(self, sequence: Sequence) -> bool:
        """Give it blocks, those of a known beginning first; False if too few are free."""
        pool, prefix = self._pool, self._find(sequence)
        num_new = self._blocks_of(sequence) - len(prefix.blocks)
        if num_new + sum(map(pool.is_free, prefix.blocks)) > pool.num_free:
            return False
        pool.share(prefix.blocks)
        sequence.block_table = prefix.blocks + pool.allocate(num_new)
        sequence.prefix_number = prefix.number
        sequence.num_known_blocks = len(prefix.blocks)
        sequence.num_cached_tokens = len(prefix.blocks) * self._block_size
        sequence.num_computed_tokens = sequence.num_cached_tokens
        self.num_reused_blocks += len(prefix.blocks)
        return True

    def _find(self, sequence: Sequence) -> Prefix:
        if self._prefixes is None:
            return Prefix([], ROOT)
        return self._prefixes.find(sequence.token_ids)

    def _remember(self, sequence: Sequence) -> None:
        """Make its blocks known that are full now."""
        if self._prefixes is None:
            return
        size = self._block_size
        for index in range(sequence.num_known_blocks, sequence.num_computed_tokens // size):
            tokens = sequence.token_ids[index * size : (index + 1) * size]
            block = sequence.block_table[index]
            sequence.prefix_number = self._prefixes.add(sequence.prefix_number, tokens, block)
            sequence.num_known_blocks = index + 1

    def _forget(self, block: int) -> None:
        assert self._prefixes is not None
        self._prefixes.forget(block)

    def _chunk(self, sequence: Sequence, budget: int) -> int:
        """How many of its tokens the next step computes."""
        if sequence.num_pending_tokens <= budget:
            return sequence.num_pending_tokens
        ends_at = sequence.num_computed_tokens + budget
        return ends_at - ends_at % self._chunk_multiple - sequence.num_computed_tokens

    def _retire(self, finished: list[Sequence]) -> None:
        """Take its blocks back: of those that are kept, the last is the first to be lost."""
        known = self._prefixes
        keep = None if known is None else known.__contains__
        for sequence in finished:
            self._pool.release(reversed(sequence.block_table), keep=keep)
            self._running.remove(sequence)

    def _blocks_of(self, sequence: Sequence) -> int:
        return blocks_for(sequence.max_cached_tokens, self._block_size)
