"""Beam search without the network: which beams go on, which have ended, and when to stop.

The rules, the order in which they apply and the scores are those of `generate(num_beams=…)` in
transformers 5, so that both find the same answers: of the (1 + end tokens) times width likeliest
continuations the first `width` that have not ended go on, and an ended one counts if it is among
the first `width`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmasos_runtime.sampling.largest import top_k

_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Beam:
    """A beginning of an answer.

    score: the sum of its tokens' log probabilities; of an ended one divided by its length to the
    power of length_penalty.
    """

    token_ids: tuple[int, ...] = ()
    score: float = 0.0


class BeamHypotheses:
    """The beams of one request.

    width: beams that run together, and answers that are kept. num_end_tokens: tokens that end an
    answer. length_penalty: above 0 favours long answers, below 0 short ones. early_stopping: stop
    as soon as `width` answers have ended; otherwise when no running beam can become better than
    the worst of them, by its score at its present length. num_forced: tokens before these that
    count as the answer's.
    """

    def __init__(
        self,
        *,
        width: int,
        num_end_tokens: int,
        length_penalty: float,
        early_stopping: bool,
        num_forced: int = 0,
    ) -> None:
        self._num_forced = num_forced
        self._width = width
        self._num_kept = max(2, 1 + num_end_tokens) * width
        self._length_penalty = length_penalty
        self._early_stopping = early_stopping
        self._can_improve = True
        self.running: list[Beam] = [Beam()]
        self.ended: list[Beam] = []

    @property
    def is_done(self) -> bool:
        """Whether `ended` has the answers, the best first."""
        is_full = len(self.ended) == self._width
        return not self.running or not self._can_improve or (is_full and self._early_stopping)

    def advance(self, log_probs: _Floats, is_end: Callable[[Beam], bool]) -> None:
        """Continues the running beams by a token.

        log_probs: [running beams, vocabulary], of each token; -inf for one that must not come.
        is_end: whether a beam has ended with its last token.
        """
        kept = self._likeliest(log_probs)
        ended = [is_end(beam) for beam in kept]
        going_on = [beam for beam, has_ended in zip(kept, ended, strict=True) if not has_ended]
        self.running = going_on[: self._width]
        if self._can_improve:
            first = zip(kept[: self._width], ended, strict=False)
            self._add([beam for beam, has_ended in first if has_ended])
        self._can_improve = self._can_improve and self._may_improve()

    def _likeliest(self, log_probs: _Floats) -> list[Beam]:
        """The continuations of the highest scores, in that order."""
        scores = np.array([beam.score for beam in self.running], np.float32)
        totals = (log_probs + scores[:, None]).ravel()
        count = min(self._num_kept, totals.size)
        places = top_k(totals, count)
        places = places[np.argsort(-totals[places], kind="stable")]
        rows, tokens = np.divmod(places, log_probs.shape[1])
        return [
            Beam(token_ids=(*self.running[row].token_ids, token), score=float(totals[place]))
            for place, row, token in zip(places, rows.tolist(), tokens.tolist(), strict=True)
            if totals[place] > -np.inf
        ]

    def _add(self, beams: Sequence[Beam]) -> None:
        merged = [*self.ended, *map(self._with_penalty, beams)]
        self.ended = sorted(merged, key=lambda beam: -beam.score)[: self._width]

    def _with_penalty(self, beam: Beam) -> Beam:
        length = len(beam.token_ids) + self._num_forced
        score = beam.score / np.float32(length**self._length_penalty)
        return Beam(token_ids=beam.token_ids, score=float(score))

    def _may_improve(self) -> bool:
        if len(self.ended) < self._width or not self.running:
            return True
        best = self.running[0]
        length = len(best.token_ids) + self._num_forced
        return bool(best.score / length**self._length_penalty > self.ended[-1].score)
