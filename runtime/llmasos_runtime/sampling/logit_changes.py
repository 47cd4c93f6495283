"""What changes the logits of one sequence before a token is drawn from them.

In transformers' order: logit_bias is added, then come the penalties, and then the tokens that
would lead out of a guide's language, repeat an n-gram or complete a bad word, those that are
suppressed and those that are not among the allowed ones become impossible. A forced last token is
certain.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from llmasos.sampling import SamplingParams
from numpy.typing import NDArray

from llmasos_runtime.sampling.bad_words import BadWords
from llmasos_runtime.sampling.penalties import penalise
from llmasos_runtime.sampling.repeated_ngrams import RepeatedNgrams
from llmasos_runtime.sampling.token_counts import TokenCounts

if TYPE_CHECKING:
    from llmasos_runtime.sampling.grammar import GrammarState

_PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")


class LogitChanges:
    """Changes rows of logits by the params of a sequence and the tokens that it has.

    token_ids: the sequence's own list, which grows at its end.
    """

    def __init__(
        self,
        params: SamplingParams,
        token_ids: list[int],
        *,
        num_prompt_tokens: int,
        bad_words: Iterable[tuple[int, ...]] = (),
        forced_last: tuple[int, int] | None = None,
        grammar: GrammarState | None = None,
    ) -> None:
        asked = params.logit_changes
        self._params = params
        self._token_ids = token_ids
        self._num_prompt_tokens = num_prompt_tokens
        self._allowed = np.array(params.allowed_token_ids, np.intp)
        self._bias_ids = np.array([token for token, _ in params.logit_bias], np.intp)
        self._bias = np.array([bias for _, bias in params.logit_bias], np.float32)
        self._counts: TokenCounts | None = None
        if any(name in asked for name in _PENALTIES):
            self._counts = TokenCounts(token_ids, num_prompt_tokens=num_prompt_tokens)
        size = params.no_repeat_ngram_size
        self._ngrams = RepeatedNgrams(token_ids, size=size) if size else None
        self._bad_words = BadWords(bad_words)
        self._forced_last = forced_last
        self._grammar = grammar

    @classmethod
    def asked_for(
        cls,
        params: SamplingParams,
        token_ids: list[int],
        *,
        bad_words: tuple[tuple[int, ...], ...] = (),
        forced_last: tuple[int, int] | None = None,
        grammar: GrammarState | None = None,
    ) -> LogitChanges | None:
        """Returns None if nothing changes logits. token_ids: the prompt, which will grow.

        forced_last: a place, and the only token that may come there.
        """
        if not params.logit_changes and not bad_words and forced_last is None:
            return None
        return cls(
            params,
            token_ids,
            num_prompt_tokens=len(token_ids),
            bad_words=bad_words,
            forced_last=forced_last,
            grammar=grammar,
        )

    def changed(
        self, logits: NDArray[np.float32], drafts: tuple[int, ...] = ()
    ) -> NDArray[np.float32]:
        """Returns a changed copy of a row of logits [vocab_size]; what is finite stays finite, but
        for banned tokens, which become -inf unless no other token is possible.

        drafts: draft tokens between the sequence's tokens and the one of this row.
        """
        row = logits.copy()
        row[self._bias_ids] += self._bias
        if self._counts is not None:
            penalise(row, self._params, self._counts.seen(drafts))
        allowed = None if self._grammar is None else self._grammar.allowed(drafts)
        if allowed is not None:
            np.copyto(row, -np.inf, where=~allowed)
        if self._allowed.size:
            row = _only(row, self._allowed)
        row = without(row, self._banned(drafts))
        if self._forced_last is not None:
            place, token = self._forced_last
            if len(self._token_ids) + len(drafts) == place and token < row.size:
                row = np.full_like(row, -np.inf)
                row[token] = 0.0
        return row

    def _banned(self, drafts: tuple[int, ...]) -> list[int]:
        banned = [*self._bad_words.banned(self._token_ids, drafts), *self._params.suppress_tokens]
        if self._ngrams is not None:
            banned += self._ngrams.banned(drafts)
        if len(self._token_ids) + len(drafts) == self._num_prompt_tokens:
            banned += self._params.begin_suppress_tokens
        return banned


def _only(row: NDArray[np.float32], allowed: NDArray[np.intp]) -> NDArray[np.float32]:
    """Returns the row with -inf for all other tokens, or unchanged if none of these is possible."""
    kept = np.full_like(row, -np.inf)
    kept[allowed] = row[allowed]
    return kept if kept.max() > -np.inf else row


def without(row: NDArray[np.float32], banned: Iterable[int]) -> NDArray[np.float32]:
    """Returns the row with -inf for these tokens, or unchanged if none else is possible.

    Tokens beyond the vocabulary are ignored.
    """
    ids = [token for token in banned if token < row.size]
    if not ids:
        return row
    allowed = row.copy()
    allowed[ids] = -np.inf
    return allowed if allowed.max() > -np.inf else row
