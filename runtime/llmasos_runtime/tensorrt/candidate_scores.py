"""Sampling from the likeliest tokens alone, whose probabilities over all tokens are known.

Most choices lie among the candidates for certain: then the token is the one that
`sampler.sample` would take from all logits. For the others there are the full logits, if the
engine returns them, or else the candidates are all there is to choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmasos_runtime.sampler import Draw, draw_among, sample, scaled_weights
from llmasos_runtime.tensorrt.tail import Tail

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """logits [rows, K], ids [rows, K], the likeliest first; log_sum_exp [rows, 1]."""

    logits: Floats
    ids: NDArray[np.int32]
    log_sum_exp: Floats


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """full: gives the logits [n, vocab_size] of n rows, if they can be had."""

    candidates: Candidates
    vocab_size: int
    full: Callable[[list[int]], Floats] | None = None

    def sample(self, draws: Sequence[Draw]) -> list[int | None]:
        """See Scores."""
        tokens: list[int | None] = []
        uncertain: list[int] = []
        for row, draw in enumerate(draws):
            token, is_certain = self._choose(row, draw)
            tokens.append(token)
            if not is_certain:
                uncertain.append(row)
        if uncertain and self.full is not None:
            chosen = sample(self.full(uncertain), [draws[row] for row in uncertain])
            for row, token in zip(uncertain, chosen, strict=True):
                tokens[row] = token
        return tokens

    def _choose(self, row: int, draw: Draw) -> tuple[int | None, bool]:
        """A token, and whether it is the one that all logits would give."""
        logits, ids = self.candidates.logits[row], self.candidates.ids[row]
        total = float(self.candidates.log_sum_exp[row, 0])
        if not (np.isfinite(total) and np.isfinite(logits[0])):
            return None, True
        is_clear = logits.size > 1 and logits[0] > logits[1]
        if draw.params.temperature == 0 and not draw.forbidden and is_clear:
            return int(ids[0]), True
        return _choose(logits, ids, draw, Tail.of(logits, total, self.vocab_size))


def _choose(logits: Floats, ids: NDArray[np.int32], draw: Draw, tail: Tail) -> tuple[int, bool]:
    num_excluded = len(set(draw.forbidden).difference(ids.tolist()))
    is_allowed = ~np.isin(ids, draw.forbidden)
    is_possible = bool(is_allowed.any()) or tail.num_tokens == 0
    if not is_allowed.any():
        is_allowed[:] = True
    by_id = np.flatnonzero(is_allowed)[np.argsort(ids[is_allowed])]
    logits, ids = logits[by_id], ids[by_id]
    if draw.params.temperature == 0:
        place = int(logits.argmax())
        return int(ids[place]), is_possible and _is_above(logits[place], tail)
    rest, is_certain = _rest(logits, draw, tail, num_excluded)
    return int(ids[draw_among(logits, draw, rest=rest)]), is_possible and is_certain


def _is_above(logit: np.float32, tail: Tail) -> bool:
    """No token of the tail has the same logit, and might come before by its id."""
    return tail.num_tokens == 0 or float(logit) > tail.floor


def _rest(logits: Floats, draw: Draw, tail: Tail, num_excluded: int) -> tuple[float, bool]:
    """What the tail weighs, and whether nothing of it can be chosen."""
    params = draw.params
    if tail.num_tokens == 0:
        return 0.0, True
    if 0 < params.top_k < logits.size + tail.num_tokens:
        if params.top_k >= logits.size:  # of equals at the border, TensorRT has chosen
            return 0.0, params.top_k == tail.num_candidates == logits.size
        return 0.0, _is_above(np.partition(logits, -params.top_k)[-params.top_k], tail)
    peak = float(logits.max())
    low, high = tail.bounds(params.temperature, peak=peak, num_excluded=num_excluded)
    descending = np.sort(logits)[::-1]
    weights = scaled_weights(descending, peak, params.temperature)
    counts = {_num_kept(weights, draw, rest) for rest in (low, high)}
    is_certain = len(counts) == 1 and max(counts) <= logits.size
    is_certain = is_certain and _is_above(descending[max(counts) - 1], tail)
    return (low + high) / 2, is_certain


def _num_kept(weights: Floats, draw: Draw, rest: float) -> int:
    """How many of these tokens top_p and min_p keep; more than there are if the tail follows.

    weights: descending. Both keep the likeliest, so the stricter of them decides.
    """
    params, too_many = draw.params, weights.size + 1
    sums = weights.cumsum(dtype=np.float64)
    goal = params.top_p * (float(sums[-1]) + rest)
    in_nucleus = int(np.searchsorted(sums, goal)) + 1 if params.top_p < 1 else too_many
    likely = int(np.count_nonzero(weights >= params.min_p))
    return min(in_nucleus, likely if likely < weights.size else too_many)
