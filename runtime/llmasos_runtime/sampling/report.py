"""What a caller wants to know of a draw beside its token: log probabilities, and logits.

They are of the model's own distribution, the softmax of the logits as they come out of the network,
before anything changes them: bias, penalties, temperature and filters do not count. So vLLM has
them by default, and OpenAI's API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from llmasos.outputs import TokenLogprob
from numpy.typing import NDArray

from llmasos_runtime.sampling.largest import top_k
from llmasos_runtime.sampling.sampler import Draw

_Floats = NDArray[np.float32]
_MODERATE = 60.0
"""The exponentials of no larger logits overflow, and those of no smaller ones vanish."""


class TokenReport(NamedTuple):
    """What is reported of a token. logits: [vocabulary], as they come out of the network."""

    logprob: TokenLogprob | None = None
    logits: _Floats | None = None


def report(
    logits: _Floats, draws: Sequence[Draw], token_ids: Sequence[int | None]
) -> list[TokenReport | None]:
    """Returns a report of each row of logits [rows, vocabulary] that is wanted, else None.

    token_ids: what was drawn from each row.
    """
    rows = zip(logits, draws, token_ids, strict=True)
    return [
        _report(row, draw, token) if token is not None and draw.is_reported else None
        for row, draw, token in rows
    ]


def _report(row: _Floats, draw: Draw, token: int) -> TokenReport:
    count = draw.params.logprobs
    return TokenReport(
        logprob=None if count is None else token_logprob(row, token, count=count),
        logits=row.copy() if draw.wants_logits else None,
    )


def token_logprob(row: _Floats, token: int, *, count: int) -> TokenLogprob:
    """Returns the log probability of a token, and the count likeliest ones."""
    total = log_sum_exp(row)
    if not count:
        return TokenLogprob.of(token, row[token] - total)
    ids = top_k(row, min(count, row.size))
    ids = ids[np.argsort(-row[ids], kind="stable")]
    return TokenLogprob.of(token, row[token] - total, ids.tolist(), (row[ids] - total).tolist())


def log_sum_exp(row: _Floats) -> np.float32:
    """Returns the logarithm of the sum of exponentials, in an order of the row alone."""
    peak = row.max()
    if abs(peak) <= _MODERATE:
        return np.float32(np.log(_sum(np.exp(row))))
    return np.float32(peak + np.log(_sum(np.exp(row - peak))))


def _sum(powers: _Floats) -> np.float32:
    """A third of the time that np.sum takes, and as exact: all terms are positive."""
    return np.float32(np.einsum("i->", powers))
