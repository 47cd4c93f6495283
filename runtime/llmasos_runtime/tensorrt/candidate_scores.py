"""Sampling from the likeliest tokens alone, whose probabilities over all tokens are known.

Most choices certainly lie among the candidates: then the token is the one that `sampler.sample`
would take from all logits. The others use the full logits, if the engine returns them, or else
only the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from llmasos.outputs import TokenLogprob
from numpy.typing import NDArray

from llmasos_runtime.sampling.report import TokenReport, token_logprob
from llmasos_runtime.sampling.sampler import Draw, sample
from llmasos_runtime.tensorrt.batched_sampler import choose

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates: logits [rows, K], ids [rows, K], likeliest first; log_sum_exp [rows, 1]."""

    logits: Floats
    ids: NDArray[np.int32]
    log_sum_exp: Floats


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """full: returns the logits [n, vocab_size] of n rows; None if the engine does not return
    them.
    """

    candidates: Candidates
    vocab_size: int
    full: Callable[[list[int]], Floats] | None = None

    def sample(self, draws: Sequence[Draw]) -> list[int | None]:
        """See Scores."""
        tokens, is_certain = self.choose(draws)
        uncertain = [row for row, certain in enumerate(is_certain) if not certain]
        full = self.full or self._whole()
        if uncertain and full is not None:
            chosen = sample(full(uncertain), [draws[row] for row in uncertain])
            for row, token in zip(uncertain, chosen, strict=True):
                tokens[row] = token
        return tokens

    def report(
        self, draws: Sequence[Draw], token_ids: Sequence[int | None]
    ) -> list[TokenReport | None]:
        """See Scores. The candidates and their log_sum_exp say all of a token among them."""
        rows = enumerate(zip(draws, token_ids, strict=True))
        return [
            self._report(row, draw, token) if token is not None and draw.is_reported else None
            for row, (draw, token) in rows
        ]

    def _report(self, row: int, draw: Draw, token: int) -> TokenReport:
        count = draw.params.logprobs
        return TokenReport(
            logprob=None if count is None else self._logprob(row, token, count=count),
            logits=self._all_logits(row).copy() if draw.wants_logits else None,
        )

    def _all_logits(self, row: int) -> Floats:
        full = self.full or self._whole()
        assert full is not None, "who asks for logits was refused"
        logits: Floats = full([row])[0]
        return logits

    def _logprob(self, row: int, token: int, *, count: int) -> TokenLogprob:
        logits, ids = self.candidates.logits[row], self.candidates.ids[row]
        found = np.flatnonzero(ids == token)
        if not found.size or count > ids.size:
            return token_logprob(self._all_logits(row), token, count=count)
        logprobs = logits - self.candidates.log_sum_exp[row, 0]
        return TokenLogprob.of(
            token, logprobs[found[0]], ids[:count].tolist(), logprobs[:count].tolist()
        )

    def _whole(self) -> Callable[[list[int]], Floats] | None:
        """All logits from the candidates, if these are the whole vocabulary."""
        logits, ids = self.candidates.logits, self.candidates.ids
        if logits.shape[1] < self.vocab_size:
            return None

        def in_order_of_ids(wanted: list[int]) -> Floats:
            rows = np.empty((len(wanted), self.vocab_size), np.float32)
            np.put_along_axis(rows, ids[wanted].astype(np.intp), logits[wanted], axis=1)
            return rows

        return in_order_of_ids

    def choose(self, draws: Sequence[Draw]) -> tuple[list[int | None], list[bool]]:
        """Returns a token for each row, and whether all logits would certainly give the same
        one.
        """
        logits, ids = self.candidates.logits[: len(draws)], self.candidates.ids[: len(draws)]
        totals = self.candidates.log_sum_exp[: len(draws), 0]
        tokens: list[int | None] = ids[:, 0].tolist()
        is_certain = [True] * len(draws)
        is_clear = np.ones(len(draws), bool)
        if logits.shape[1] > 1:
            is_clear = logits[:, 0] > logits[:, 1]
        is_finite = np.isfinite(totals) & np.isfinite(logits[:, 0])
        harder: list[int] = []
        for row, draw in enumerate(draws):
            if not is_finite[row]:
                tokens[row] = None
            elif draw.changes is not None:  # they may lift a token of the tail to the top
                is_certain[row] = False
            elif draw.params.temperature > 0 or draw.forbidden or not is_clear[row]:
                harder.append(row)
        if harder:
            found, sure = choose(
                logits[harder], ids[harder], totals[harder], [draws[row] for row in harder],
                vocab_size=self.vocab_size,
            )  # fmt: skip
            for row, token, certain in zip(harder, found, sure, strict=True):
                tokens[row], is_certain[row] = token, certain
        return tokens, is_certain
