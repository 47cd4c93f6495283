"""The result of a step, from which next tokens are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmasos_runtime.sampling.report import TokenReport, report
from llmasos_runtime.sampling.sampler import Draw, sample


class Scores(Protocol):
    """Rows of scores, one for each position whose next token is wanted."""

    def sample(self, draws: Sequence[Draw]) -> list[int | None]:
        """Returns a token id for each of the first len(draws) rows; see `sampler.sample`."""
        ...

    def report(
        self, draws: Sequence[Draw], token_ids: Sequence[int | None]
    ) -> list[TokenReport | None]:
        """Returns what the draws ask to know of the tokens that came; see `report.report`."""
        ...


@dataclass(frozen=True, slots=True)
class Logits:
    """The logits of the whole vocabulary, [rows, vocab_size]."""

    rows: NDArray[np.float32]

    def sample(self, draws: Sequence[Draw]) -> list[int | None]:
        """See Scores."""
        return sample(self.rows[: len(draws)], draws)

    def report(
        self, draws: Sequence[Draw], token_ids: Sequence[int | None]
    ) -> list[TokenReport | None]:
        """See Scores."""
        return report(self.rows[: len(draws)], draws, token_ids)
