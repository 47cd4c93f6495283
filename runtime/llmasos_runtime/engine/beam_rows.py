"""What the network says behind each beam of a search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmasos_runtime.sampling.logit_changes import LogitChanges, without
from llmasos_runtime.sampling.report import TokenReport, log_sum_exp, token_logprob
from llmasos_runtime.sequences.request import Request

Tokens = tuple[int, ...]
_Row = NDArray[np.float32]


class BeamRows:
    """The logits behind the beams that run, and the reports of the tokens that they have.

    ends: tokens that end an answer, which cannot come before min_tokens. forced_last: see
    `LogitChanges.asked_for`.
    """

    def __init__(
        self, request: Request, ends: Iterable[int], forced_last: tuple[int, int] | None = None
    ) -> None:
        self._forced_last = forced_last
        self._request = request
        self._ends = tuple(ends)
        self._rows: dict[Tokens, _Row] = {}
        self._reports: dict[Tokens, tuple[TokenReport, ...]] = {(): ()}

    def add(self, token_ids: Tokens, row: _Row) -> None:
        """Takes the logits [vocabulary] behind a beam."""
        self._rows[token_ids] = row

    def log_probs(self, beams: Sequence[Tokens]) -> _Row:
        """Returns the log probabilities behind these beams, [beams, vocabulary], with penalties,
        biases and bans on them.

        As in transformers they change log probabilities, where those of a draw change logits.
        """
        return np.stack([self._changed(token_ids, self._rows[token_ids]) for token_ids in beams])

    def keep(self, beams: Iterable[Tokens]) -> None:
        """Goes on with these beams, each of which continues one of before or is one of them."""
        known = self._reports
        self._reports = {ids: known.get(ids) or self._reported(ids, known) for ids in beams}
        self._rows.clear()

    def reports(self, token_ids: Tokens) -> tuple[TokenReport, ...]:
        """What the request wants to know of each token of a beam that was kept."""
        return self._reports.get(token_ids, ())

    def _changed(self, token_ids: Tokens, row: _Row) -> _Row:
        log_probs = row - log_sum_exp(row)
        all_ids = list(self._request.prompt_token_ids)
        params, bad_words = self._request.params, self._request.bad_words
        changes = LogitChanges.asked_for(
            params, all_ids, bad_words=bad_words, forced_last=self._forced_last
        )
        all_ids += token_ids
        if changes is not None:
            log_probs = changes.changed(log_probs)
        if len(token_ids) < params.min_tokens:
            log_probs = without(log_probs, self._ends)
        return log_probs

    def _reported(
        self, token_ids: Tokens, known: dict[Tokens, tuple[TokenReport, ...]]
    ) -> tuple[TokenReport, ...]:
        count, wants_logits = self._request.params.logprobs, self._request.wants_logits
        if count is None and not wants_logits:
            return ()
        before, token = token_ids[:-1], token_ids[-1]
        row = self._rows[before]
        new = TokenReport(
            logprob=None if count is None else token_logprob(row, token, count=count),
            logits=row if wants_logits else None,
        )
        return (*known[before], new)
