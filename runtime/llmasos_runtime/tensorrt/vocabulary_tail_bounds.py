"""Bounds on the tokens outside the candidates: their number, total weight and largest weight."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
_SLACK = 1e-5
"""Relative error of f32 sums over a vocabulary."""
_MAX_EXPONENT = 700.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyTailBounds:
    """The tail of each row. Weights are exp(logit - peak), where peak is the row's largest logit.

    num_tokens: 0 if every token is a candidate. mass: total weight of the tail, exact up to slack.
    depth: logarithm of the smallest candidate's weight, which bounds every weight in the tail.
    """

    num_tokens: int
    mass: Doubles
    slack: Doubles
    peak: Doubles
    depth: Doubles

    @classmethod
    def of(
        cls, logits: NDArray[np.float32], log_sum_exp: NDArray[np.float32], vocab_size: int
    ) -> VocabularyTailBounds:
        """Computes the tail of these candidates' logits [rows, K], largest first; log_sum_exp
        [rows].
        """
        exact = logits.astype(np.float64)
        peak = exact[:, 0]
        total = np.exp(log_sum_exp.astype(np.float64) - peak)
        known = np.exp(exact - peak[:, None]).sum(axis=1)
        return cls(
            num_tokens=max(0, vocab_size - logits.shape[1]),
            mass=np.maximum(0.0, total - known),
            slack=total * _SLACK,
            peak=peak,
            depth=exact[:, -1] - peak,
        )

    def bounds(
        self, scale: Doubles, *, peak: Doubles, num_excluded: NDArray[np.intp]
    ) -> tuple[Doubles, Doubles]:
        """Returns bounds on each tail's weight if logits are scaled and peak has weight 1.

        num_excluded: tokens of the tail that do not count. With a = scale, a tail of n weights x,
        none above c, of mass m, weighs between n (m/n)^a and m c^(a-1), by Jensen's inequality and
        x^(a-1) <= c^(a-1); for a < 1 the bounds swap.
        """
        if self.num_tokens == 0:
            return np.zeros_like(scale), np.zeros_like(scale)
        size = math.log(self.num_tokens)
        depth = np.where(np.isfinite(self.depth), self.depth, 0.0)
        least, most = _log(self.mass - self.slack), _log(self.mass + self.slack)
        shift = (self.peak - peak) * scale

        def even(mass: Doubles) -> Doubles:
            found: Doubles = size + scale * (mass - size)
            return found

        def uneven(mass: Doubles) -> Doubles:
            found: Doubles = mass + (scale - 1) * depth
            return found

        low = _exp(np.where(scale >= 1, even(least), uneven(least)) + shift)
        high = np.where(scale >= 1, uneven(most), even(most))
        high = _exp(np.minimum(high, size + depth * scale) + shift)
        low = np.minimum(low, high) - num_excluded * _exp(depth * scale + shift)
        is_nothing = ~np.isfinite(self.depth)
        low, high = np.maximum(low, 0.0), np.maximum(high, 0.0)
        return np.where(is_nothing, 0.0, low), np.where(is_nothing, 0.0, high)


def _log(values: Doubles) -> Doubles:
    """Returns the logarithm; values up to 0 become the smallest normal number."""
    result: Doubles = np.log(np.maximum(values, np.finfo(np.float64).tiny))
    return result


def _exp(values: Doubles) -> Doubles:
    result: Doubles = np.exp(np.minimum(values, _MAX_EXPONENT))
    return result
