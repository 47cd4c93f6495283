"""A network without weights: it counts."""

from __future__ import annotations

import threading

import numpy as np
from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.sampling.scores import Logits
from llmasos_runtime.sequences.step import Step
from patience import PATIENCE_S

VOCAB_SIZE = 400


class CountingRunner:
    """After token n it is sure of token n + 1, or indifferent between all.

    hold: each step waits until it is set. fails_at: the step that raises. bad_token: after it
    no logit is a number. restarts_at: after this token comes 0 again, as after the
    last one of the vocabulary. chunk_multiple, max_drafts: see Capabilities.
    """

    def __init__(
        self,
        *,
        num_blocks: int = 256,
        is_sure: bool = True,
        bad_token: int | None = None,
        restarts_at: int | None = None,
        chunk_multiple: int = 1,
        max_drafts: int = 0,
        vocab_size: int = VOCAB_SIZE,
    ) -> None:
        self.capabilities = Capabilities(
            num_blocks=num_blocks,
            block_size=4,
            chunk_multiple=chunk_multiple,
            max_draft_tokens=max_drafts,
        )
        self.hold = threading.Event()
        self.hold.set()
        self.started = threading.Event()
        self.fails_at: int | None = None
        self.num_steps = 0
        self.is_closed = False
        self._is_sure = is_sure
        self._vocab_size = vocab_size
        self._bad_token = bad_token
        self._restarts_at = restarts_at
        self._last: list[int] = []

    def start(self, step: Step) -> None:
        if self.num_steps == self.fails_at:
            raise RuntimeError("out of luck")
        self.num_steps += 1
        self._last = [
            token_id
            for share in step.shares
            if share.is_sampled
            for token_id in share.token_ids[-share.num_sampled :]
        ]
        self.started.set()

    def wait(self) -> Logits:
        assert self.hold.wait(PATIENCE_S)
        logits = np.zeros((len(self._last), self._vocab_size), np.float32)
        for row, token in enumerate(self._last):
            restarts = token in (self._restarts_at, self._vocab_size - 1)
            following = 0 if restarts else token + 1
            logits[row, following] = 20.0 if self._is_sure else 0.0
            if token == self._bad_token:
                logits[row] = np.nan
        return Logits(logits)

    def close(self) -> None:
        self.is_closed = True
