"""Log-likelihoods of given continuations, which benchmarks of language models ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from llmasos.engine.plan import EnginePlan
from llmasos.errors import InvalidRequestError
from llmasos.progress import Progress

from llmasos_runtime.evaluation.forward import load_forward
from llmasos_runtime.evaluation.measures import target_scores
from llmasos_runtime.evaluation.teacher_forcing import predict
from llmasos_runtime.evaluation.window import Window

Pair = tuple[Sequence[int], Sequence[int]]
"""Tokens of a context, at least one, and tokens of its continuation."""


class Scorer:
    """A loaded engine that scores continuations, many in one forward."""

    def __init__(self, plan_dir: Path, *, num_threads: int | None = None) -> None:
        """Raises PlanError."""
        self._max_seq_len = EnginePlan.read(plan_dir).limits.max_seq_len
        self._forward = load_forward(
            plan_dir, slot_tokens=self._max_seq_len, num_threads=num_threads
        )

    def score(self, pairs: Sequence[Pair], progress: Progress) -> list[tuple[float, bool]]:
        """Returns each continuation's log-probability in nats and whether it is the greedy one.

        A context that is too long loses its beginning; a continuation that is too long raises
        InvalidRequestError.
        """
        windows = [self._window(context, continuation) for context, continuation in pairs]
        index_of = {id(window): index for index, window in enumerate(windows)}
        sums, greedy = [0.0] * len(pairs), [True] * len(pairs)
        scored = [window for window in windows if window is not None]
        for found in predict([self._forward], scored, token_by_token=False, progress=progress):
            index = index_of[id(found.window)]
            scores, likeliest = target_scores(found.logits[0], found.targets)
            sums[index] += math.fsum(scores)
            greedy[index] &= bool(likeliest.all())
        return list(zip(sums, greedy, strict=True))

    def score_texts(
        self, texts: Sequence[Sequence[int]], prefix: int, progress: Progress
    ) -> list[float]:
        """Returns the log-probability of each text's tokens, the first one after the prefix.

        A text longer than max_seq_len is cut into windows; each token is predicted once, and the
        last window is as long as any. A window has one token more than the engine reads, since the
        last is only predicted.
        """
        pairs = [self._pairs([prefix, *token_ids]) for token_ids in texts]
        scores = iter(self.score([pair for of_text in pairs for pair in of_text], progress))
        return [math.fsum(next(scores)[0] for _ in of_text) for of_text in pairs]

    def _pairs(self, tokens: Sequence[int]) -> list[Pair]:
        length = self._max_seq_len + 1
        pairs: list[Pair] = []
        for begin in range(0, len(tokens) - 1, length - 1):
            end = min(begin + length, len(tokens))
            start = max(0, min(begin, end - length))
            pairs.append((tokens[start : begin + 1], tokens[begin + 1 : end]))
        return pairs

    def _window(self, context: Sequence[int], continuation: Sequence[int]) -> Window | None:
        """None if there is nothing to predict."""
        if not continuation:
            return None
        if len(continuation) > self._max_seq_len:
            raise InvalidRequestError(
                f"the continuation has {len(continuation)} tokens, at most {self._max_seq_len} "
                "fit after one token of context"
            )
        tokens = (*context, *continuation)[-self._max_seq_len - 1 :]
        return Window(token_ids=tokens, first_target=max(1, len(tokens) - len(continuation)))
