"""Samples many rows at once, each from its top-k candidates.

top_k, top_p and min_p all keep the likeliest tokens, so each row keeps a number of candidates in
the order of likelihood: the smallest of three. A number above that of the candidates means that
tokens of the tail are kept too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmasos_runtime.sampling.sampler import Draw, uniform
from llmasos_runtime.tensorrt.vocabulary_tail_bounds import Doubles, VocabularyTailBounds

Floats = NDArray[np.float32]
_Counts = NDArray[np.intp]
_Flags = NDArray[np.bool_]
_MAX_SCALE = float(np.finfo(np.float32).max)


def choose(
    logits: Floats,
    ids: NDArray[np.int32],
    log_sum_exp: Floats,
    draws: Sequence[Draw],
    *,
    vocab_size: int,
) -> tuple[list[int], list[bool]]:
    """Returns a token for each row, and whether all logits would certainly give the same one.

    logits, ids: [rows, K], the likeliest first; log_sum_exp: [rows]. All are finite, except for
    logits of -inf that are not a row's first.
    """
    tail_bounds = VocabularyTailBounds.of(logits, log_sum_exp, vocab_size)
    by_id = np.argsort(ids, axis=1)
    ids, logits = _at(ids, by_id), _at(logits, by_id)
    allowed = _allowed(ids, draws)
    is_possible = allowed.any(axis=1)
    allowed[~is_possible] = True
    is_possible |= tail_bounds.num_tokens == 0
    logits = np.where(allowed, logits, np.float32(-np.inf))
    order = np.argsort(-logits, axis=1, kind="stable")  # of equals the lowest id first
    likeliest = _Likeliest(
        _at(logits, order), allowed.sum(axis=1), _Filters.of(draws, ids), tail_bounds
    )
    kept, is_certain = likeliest.kept()
    ranks = np.empty_like(order)
    ranks[np.arange(len(order))[:, None], order] = np.arange(order.shape[1])
    weights = np.where(ranks < kept[:, None], _at(likeliest.weights, ranks), np.float32(0))
    places = _pick(weights, np.array([uniform(d.seed, d.output_index) for d in draws]))
    tokens = _at(ids, places[:, None])[:, 0]
    return tokens.tolist(), (is_certain & is_possible).tolist()


def _at(values: NDArray[Any], places: _Counts) -> NDArray[Any]:
    """Takes values at these positions of each row: np.take_along_axis, several times as fast."""
    return values[np.arange(len(values))[:, None], places]  # type: ignore[no-any-return]


def _allowed(ids: NDArray[np.int32], draws: Sequence[Draw]) -> _Flags:
    allowed = np.ones(ids.shape, bool)
    for row, draw in enumerate(draws):
        if draw.forbidden:
            allowed[row] = ~np.isin(ids[row], draw.forbidden)
    return allowed


def _pick(weights: Floats, shares: Doubles) -> _Counts:
    """Returns the position where a running sum passes a share of the whole, as in `sampler`."""
    sums = weights.cumsum(axis=1, dtype=np.float64)
    total = sums[:, -1]
    goals = np.minimum(shares * total, np.nextafter(total, 0))
    places: _Counts = np.count_nonzero(sums <= goals[:, None], axis=1)
    return places


@dataclass(frozen=True, slots=True)
class _Filters:
    """The filters of each row; scale: 1 / temperature. num_excluded: forbidden tokens in the
    tail.
    """

    scale: Doubles
    top_k: _Counts
    top_p: Doubles
    min_p: Doubles
    num_excluded: _Counts

    @classmethod
    def of(cls, draws: Sequence[Draw], ids: NDArray[np.int32]) -> _Filters:
        """Makes the filters; a greedy row keeps one token."""
        params = [draw.params for draw in draws]
        forbidden = [set(draw.forbidden) for draw in draws]
        return cls(
            np.array([min(1 / p.temperature, _MAX_SCALE) if p.temperature else 1 for p in params]),
            np.array([p.top_k if p.temperature else 1 for p in params]),
            np.array([draw.top_p for draw in draws]),
            np.array([p.min_p for p in params]),
            np.array(
                [len(f.difference(own.tolist())) if f else 0 for f, own in zip(forbidden, ids)]  # noqa: B905
            ),
        )


class _Likeliest:
    """logits: [rows, K], descending; the first num_allowed of each row may be chosen.

    weights: after the temperature, as multiples of the row's largest.
    """

    def __init__(
        self,
        logits: Floats,
        num_allowed: _Counts,
        filters: _Filters,
        tail_bounds: VocabularyTailBounds,
    ) -> None:
        self._logits = logits
        self._num_allowed = num_allowed
        self._filters = filters
        self._tail_bounds = tail_bounds
        with np.errstate(over="ignore"):
            weights = (logits - logits[:, :1]) * filters.scale.astype(np.float32)[:, None]
        self.weights: Floats = np.exp(weights)
        self._sums = self.weights.cumsum(axis=1, dtype=np.float64)
        self._too_many = logits.shape[1] + 1

    def kept(self) -> tuple[_Counts, _Flags]:
        """Returns the number of candidates kept in each row, and whether that choice is certain."""
        top_k, num_allowed, tail_bounds = self._filters.top_k, self._num_allowed, self._tail_bounds
        has_top_k = (top_k > 0) & (top_k < self._logits.shape[1] + tail_bounds.num_tokens)
        low, high = tail_bounds.bounds(
            self._filters.scale,
            peak=self._logits[:, 0].astype(np.float64),
            num_excluded=self._filters.num_excluded,
        )
        limit = np.where(has_top_k, np.minimum(top_k, num_allowed), num_allowed)
        low, high = np.where(has_top_k, 0.0, low), np.where(has_top_k, 0.0, high)
        likely = self._num_likely()
        least, kept, most = (
            np.minimum(self._in_nucleus(limit, rest), likely)
            for rest in (low, (low + high) / 2, high)
        )
        is_certain = (least == most) & (most <= limit) & self._is_above(most)
        # All candidates, and no other: of equals at the border, TensorRT has chosen.
        is_whole_top_k = top_k == self._logits.shape[1]
        of_top_k = (top_k <= num_allowed) & (self._is_above(top_k) | is_whole_top_k)
        is_certain = np.where(has_top_k, of_top_k, is_certain) | (tail_bounds.num_tokens == 0)
        return np.minimum(kept, limit), is_certain

    def _in_nucleus(self, limit: _Counts, rest: Doubles) -> _Counts:
        """limit: candidates that count. rest: the weight of the tail, which the nucleus may
        reach too.
        """
        inside = _at(self._sums, limit[:, None] - 1)[:, 0]
        goals = self._filters.top_p * (inside + rest)
        count = np.count_nonzero(self._sums < goals[:, None], axis=1) + 1
        return np.where(self._filters.top_p >= 1, self._too_many, count)

    def _num_likely(self) -> _Counts:
        """The number that min_p keeps; if that is every candidate, the tail may have as likely
        ones.
        """
        is_likely = self.weights >= self._filters.min_p[:, None]
        count = np.minimum(np.count_nonzero(is_likely, axis=1), self._num_allowed)
        return np.where(count < self._num_allowed, count, self._too_many)

    def _is_above(self, count: _Counts) -> _Flags:
        """True if no token of the tail equals the last kept one, which a lower id would
        displace.
        """
        last = np.minimum(count, self._num_allowed) - 1
        logits = _at(self._logits, last[:, None])[:, 0]
        return logits.astype(np.float64) > self._tail_bounds.peak + self._tail_bounds.depth
