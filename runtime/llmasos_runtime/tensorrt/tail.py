"""What is known of the tokens that are no candidates: their number, their share, their most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SLACK = 1e-5
"""How far f32 sums over a vocabulary may be off, as a part of the sum."""
_MAX_EXPONENT = 700.0
_MAX_SCALE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Weights are exp(logit - peak), peak being the largest logit of all.

    mass: of all tokens in the tail, known but for slack. floor: the least candidate's logit,
    which none of the tail is above.
    """

    num_candidates: int
    num_tokens: int
    mass: float
    slack: float
    peak: float
    floor: float

    @classmethod
    def of(cls, logits: NDArray[np.float32], log_sum_exp: float, vocab_size: int) -> Tail:
        """Beside these candidates' logits, the largest first."""
        peak = float(logits[0])
        total = math.exp(log_sum_exp - peak)
        known = float(np.exp(logits.astype(np.float64) - peak).sum())
        return cls(
            num_candidates=logits.size,
            num_tokens=max(0, vocab_size - logits.size),
            mass=max(0.0, total - known),
            slack=total * _SLACK,
            peak=peak,
            floor=float(logits[-1]),
        )

    def bounds(self, temperature: float, *, peak: float, num_excluded: int) -> tuple[float, float]:
        """The least and the most that the tail weighs at a temperature, where peak weighs 1.

        num_excluded: tokens of it that do not count. With a = 1 / temperature a tail of n
        weights x, none above c, of mass m, weighs between n (m/n)^a and m c^(a-1), which is
        Jensen's inequality and x^(a-1) <= c^(a-1); for a < 1 it is the other way round.
        """
        if self.num_tokens == 0 or self.floor == -math.inf:
            return 0.0, 0.0
        scale = min(1 / temperature, _MAX_SCALE)
        highest = (self.floor - self.peak) * scale
        shift = (self.peak - peak) * scale

        def even(mass: float) -> float:
            return _log(self.num_tokens) + scale * (_log(mass) - _log(self.num_tokens))

        def uneven(mass: float) -> float:
            return _log(mass) + (scale - 1) * (self.floor - self.peak)

        least, most = (even, uneven) if scale >= 1 else (uneven, even)
        low = _exp(least(self.mass - self.slack) + shift)
        high = _exp(min(most(self.mass + self.slack), _log(self.num_tokens) + highest) + shift)
        return max(0.0, min(low, high) - num_excluded * _exp(highest + shift)), high


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _exp(value: float) -> float:
    return math.exp(min(value, _MAX_EXPONENT))
