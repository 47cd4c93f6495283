"""Sampling: picks the next token as a pure function of logits, a seed and an output index.

The logits are changed first, where the params ask for it (`logit_changes`). The filters follow in
Hugging Face's order: the logits are divided by the temperature; top_k keeps the most likely tokens;
top_p keeps the smallest set of the most likely of those whose share of their probability reaches
it; min_p drops tokens less likely than min_p times the most likely one. Of equally likely tokens
the one with the lowest id comes first. One number in [0, 1) then picks from what is left, laid out
in the order of ids (inverse transform sampling). So no filter sorts the vocabulary: each is a bound
on the logit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llmasos.sampling import SamplingParams
from numpy.typing import NDArray

from llmasos_runtime.sampling.largest import down_to, largest, top_k
from llmasos_runtime.sampling.logit_changes import LogitChanges, without

_Floats = NDArray[np.float32]
_Ids = NDArray[np.intp]

_BLOCK = 512
_NUM_LIKELY = 512
_MAX_SORTED = 2048
_MAX_SCALE = float(np.finfo(np.float32).max)
_UINT64 = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The parameters of one draw.

    seed: in [0, 2^64). output_index: number of tokens of this sequence before this one.
    forbidden: token ids that must not be chosen, unless no other token is possible.
    changes: what changes the logits first, if something does.
    drafts: draft tokens between those and this one. decayed_top_p: in the place of top_p.
    wants_logits: the logits are reported.
    """

    params: SamplingParams
    seed: int
    output_index: int
    forbidden: tuple[int, ...] = ()
    changes: LogitChanges | None = None
    drafts: tuple[int, ...] = ()
    decayed_top_p: float | None = None
    wants_logits: bool = False

    @property
    def top_p(self) -> float:
        return self.params.top_p if self.decayed_top_p is None else self.decayed_top_p

    @property
    def is_reported(self) -> bool:
        """Whether the caller wants to know more of it than its token; see `report`."""
        return self.wants_logits or self.params.logprobs is not None


def sample(logits: _Floats, draws: Sequence[Draw]) -> list[int | None]:
    """Returns a token id for each row of logits [rows, vocabulary], which are only read.

    A row's token depends only on that row and its draw. It is None if nothing can be chosen: a
    logit is NaN or +inf, or all are -inf.
    """
    best: list[int] = logits.argmax(axis=1).tolist()  # a NaN counts as the largest
    peaks = [logits.item(row, token) for row, token in enumerate(best)]
    return [
        _choose(logits[row], token, draw) if math.isfinite(peak) else None
        for row, (token, peak, draw) in enumerate(zip(best, peaks, draws, strict=True))
    ]


def takes_the_likeliest(draw: Draw) -> bool:
    """Whether a row's token is that of its largest logit, whatever else the row says.

    A step in which all rows are so need not return logits.
    """
    return (
        draw.params.temperature == 0
        and not draw.forbidden
        and draw.changes is None
        and not draw.is_reported
    )


def _choose(row: _Floats, best: int, draw: Draw) -> int:
    is_greedy = draw.params.temperature == 0
    if draw.changes is not None:
        row = draw.changes.changed(row, draw.drafts)
        best = int(row.argmax())
    if is_greedy and best not in draw.forbidden:
        return best
    if draw.forbidden:
        row = without(row, draw.forbidden)
        best = int(row.argmax())
    return best if is_greedy else _draw(row, float(row[best]), draw)


def _draw(row: _Floats, peak: float, draw: Draw) -> int:
    params, ids = draw.params, None
    if 0 < params.top_k < row.size:
        ids = top_k(row, params.top_k)
        row = row[ids]
    weights = _weights(row, peak, params.temperature)
    if draw.top_p < 1:
        ids, weights = _narrow(ids, weights, _top_p(weights, draw.top_p))
    if params.min_p > 0:
        ids, weights = _narrow(ids, weights, np.flatnonzero(weights >= params.min_p))
    place = _pick(weights, uniform(draw.seed, draw.output_index))
    return place if ids is None else int(ids[place])


def _narrow(ids: _Ids | None, weights: _Floats, kept: _Ids) -> tuple[_Ids, _Floats]:
    return kept if ids is None else ids[kept], weights[kept]


def _weights(logits: _Floats, peak: float, temperature: float) -> _Floats:
    """Returns probabilities as multiples of the largest, which becomes exactly 1."""
    with np.errstate(over="ignore"):  # what is too far below the peak becomes -inf
        weights = logits - np.float32(peak)
        weights *= np.float32(min(1 / temperature, _MAX_SCALE))
    np.exp(weights, out=weights)
    return weights


def _top_p(weights: _Floats, top_p: float) -> _Ids:
    """Returns the positions of the nucleus, ascending: Holtzman et al., arXiv:1904.09751.

    The smallest weight in it is found as quickselect finds a median: split, and continue in the
    part where it must be. Usually only a few hundred tokens are looked at.
    """
    goal, above = top_p * float(weights.sum(dtype=np.float64)), 0.0
    part = largest(weights, _NUM_LIKELY)
    if part.sum(dtype=np.float64) < goal:
        part = weights
    while part.size > _MAX_SORTED:
        few = part[:: part.size // 64]
        is_high = part >= np.partition(few, few.size // 2)[few.size // 2]
        high = part.take(np.flatnonzero(is_high))
        if high.size == part.size:
            break
        mass = float(high.sum(dtype=np.float64))
        if above + mass >= goal:
            part = high
        else:
            part, above = part.take(np.flatnonzero(~is_high)), above + mass
    descending = np.sort(part)[::-1]
    reached = np.searchsorted(above + descending.cumsum(dtype=np.float64), goal)
    last = min(int(reached), part.size - 1)
    bound = descending[last]
    return down_to(weights, bound, int(np.count_nonzero(descending[: last + 1] == bound)))


def _pick(weights: _Floats, share: float) -> int:
    """Returns the position where the running sum of weights passes that share of the whole.

    A running sum is slow, so it runs over blocks first, and then inside one block.
    """
    if weights.size <= _BLOCK:
        return _passing(weights, share)[0]
    blocks = np.zeros((-(-weights.size // _BLOCK), _BLOCK), np.float32)
    blocks.reshape(-1)[: weights.size] = weights
    block, share = _passing(blocks.sum(axis=1), share)
    return block * _BLOCK + _passing(blocks[block], share)[0]


def _passing(weights: _Floats, share: float) -> tuple[int, float]:
    """Returns the position, and the share of its own weight at which the sum passes; never
    weight 0.
    """
    sums = weights.cumsum(dtype=np.float64)
    goal = min(share * float(sums[-1]), float(np.nextafter(sums[-1], 0)))
    place = int(np.searchsorted(sums, goal, side="right"))
    weight = float(weights[place])
    return place, max(0.0, (goal - (float(sums[place]) - weight)) / weight)


def uniform(seed: int, index: int) -> float:
    """Returns the index-th number in [0, 1) of a seed, without computing those before it.

    A counter is hashed as in SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", OOPSLA 2014), starting from the seed's own hash.
    """
    return (_mixed(_mixed(seed) + index) >> 11) * 2.0**-53


def _mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _UINT64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _UINT64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _UINT64
    return value ^ (value >> 31)
