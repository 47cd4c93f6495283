"""top_p decays step by step as TensorRT-LLM's kernel computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos.sampling import SamplingParams
from llmasos_runtime.sampling.decayed_top_p import decayed_top_p
from llmasos_runtime.sampling.sampler import Draw, sample
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Share
from llmasos_runtime.tensorrt.batched_sampler import choose

PROMPT = [7, 7, 7]


def by_steps(params: SamplingParams, output: list[int]) -> float:
    """What the kernel does after each token: reset, or decay down to the minimum."""
    top_p = params.top_p
    for token in output:
        is_reset = token == params.top_p_reset_ids
        top_p = params.top_p if is_reset else max(top_p * params.top_p_decay, params.top_p_min)
    return top_p


PARAMS = st.builds(
    SamplingParams,
    top_p=st.floats(0.05, 1.0),
    top_p_decay=st.floats(0.1, 1.0),
    top_p_min=st.floats(0.0, 1.0),
    top_p_reset_ids=st.none() | st.integers(0, 4),
)


@given(
    params=PARAMS,
    output=st.lists(st.integers(0, 4), max_size=12),
    drafts=st.lists(st.integers(0, 4), max_size=4),
)
def test_it_is_that_of_the_kernel(
    params: SamplingParams, output: list[int], drafts: list[int]
) -> None:
    ours = decayed_top_p(params, [*PROMPT, *output], begin=len(PROMPT), drafts=drafts)
    assert ours == pytest.approx(by_steps(params, [*output, *drafts]))


def draws(output: list[int], **fields: Any) -> list[Draw]:
    sequence = Sequence(
        request_id="a",
        token_ids=list(PROMPT),
        params=SamplingParams(temperature=1.0, **fields),
        max_len=99,
        end_token_ids=frozenset(),
        seed=3,
    )
    sequence.token_ids += output
    return Share(sequence, len(sequence.token_ids)).draws


def test_a_draw_is_made_with_the_decayed_top_p() -> None:
    logits = np.random.default_rng(1).normal(scale=2, size=(1, 60)).astype(np.float32)
    output = [1] * 9
    decayed = draws(output, top_p=0.9, top_p_decay=0.1)
    assert sample(logits, decayed) == [int(logits.argmax())]
    as_said = draws(output, top_p=0.9 * 0.8**9)
    assert sample(logits, draws(output, top_p=0.9, top_p_decay=0.8)) == sample(logits, as_said)
    ids = np.argsort(-logits, axis=1)
    total = np.log(np.exp(logits).sum(axis=1))
    tokens, _ = choose(
        np.take_along_axis(logits, ids, axis=1),
        ids.astype(np.int32),
        total,
        decayed,
        vocab_size=60,
    )
    assert tokens == [int(logits.argmax())]
