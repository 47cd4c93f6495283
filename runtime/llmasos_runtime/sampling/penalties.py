"""Penalties on the logits of tokens that a sequence has already.

repetition_penalty is that of Keskar et al. (CTRL, arXiv:1909.05858) as transformers has it, over
prompt and output: a positive logit is divided by it, and any other multiplied. presence_penalty
and frequency_penalty are OpenAI's, over the output alone: the first is subtracted once from the
logit of a token that is there, the second as often as it is there. Only the logits of tokens
that were seen are touched.
"""

from __future__ import annotations

import numpy as np
from llmasos.sampling import SamplingParams
from numpy.typing import NDArray

from llmasos_runtime.sampling.token_counts import Seen

_LARGEST = np.finfo(np.float32).max
_LEAST = np.finfo(np.float32).tiny


def penalise(row: NDArray[np.float32], params: SamplingParams, seen: Seen) -> None:
    """Changes a row of logits [vocab_size] by the penalties; what is finite stays so."""
    old = new = row[seen.ids]
    if params.repetition_penalty != 1.0:
        factor = max(np.float32(params.repetition_penalty), _LEAST)
        with np.errstate(over="ignore"):
            new = np.where(old < 0, old * factor, old / factor)
    if params.frequency_penalty:
        new = new - np.float32(params.frequency_penalty) * seen.num_outputs.astype(np.float32)
    if params.presence_penalty:
        new = new - np.float32(params.presence_penalty) * (seen.num_outputs > 0)
    if not np.isfinite(new).all():
        new = np.where(np.isfinite(old), np.clip(new, -_LARGEST, _LARGEST), old)
    row[seen.ids] = new
