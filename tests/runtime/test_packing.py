"""A step as the arrays that paged attention reads."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from llmasos_runtime.packing import SAMPLED_POSITIONS, advance, pack
from llmasos_runtime.sequences.step import Share, Step
from made_sequences import sequence


def test_a_prompt_beside_a_decoding_sequence() -> None:
    prompt, decoding = sequence(prompt=3), sequence(prompt=5, max_tokens=9)
    prompt.token_ids = [1, 2, 3]
    prompt.block_table = [4, 5]
    decoding.token_ids += [8, 9]
    decoding.num_computed_tokens = 6
    decoding.block_table = [7, 0, 2, 3]
    inputs = pack(Step((Share(decoding, 1), Share(prompt, 3))), block_size=4)
    assert {name: array.tolist() for name, array in inputs.items()} == {
        "input_ids": [9, 1, 2, 3],
        "position_ids": [6, 0, 1, 2],
        "past_lens": [6, 0],
        "subsequence_begins": [0, 1, 4],
        "block_indices": [7, 0, 4],
        "block_indices_begins": [0, 2, 3],
        "max_context_len": 7,
        SAMPLED_POSITIONS: [0, 3],
    }
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int64), np.dtype(np.int32)}


def test_the_middle_of_a_prompt_asks_for_one_position_that_nobody_reads() -> None:
    prompt = sequence(prompt=10)
    prompt.num_computed_tokens = 4
    prompt.block_table = [0, 1, 2]
    step = Step((Share(prompt, 4),))
    assert step.sampled == ()
    inputs = pack(step, block_size=4)
    assert inputs[SAMPLED_POSITIONS].tolist() == [0]
    assert inputs["position_ids"].tolist() == [4, 5, 6, 7]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 14))
def test_moving_on_by_a_token_is_packing_anew(prompts: list[int], num_steps: int) -> None:
    sequences = [sequence(prompt=prompt, max_tokens=20) for prompt in prompts]
    for number, one in enumerate(sequences):
        one.block_table = list(range(10 * number, 10 * number + 9))
        one.num_computed_tokens = one.num_prompt_tokens
        one.append(100 + number)
    step = Step(tuple(Share(one, 1) for one in sequences))
    moved = pack(step, block_size=4)
    for number in range(num_steps):
        for one in sequences:
            one.num_computed_tokens += 1
            one.append(200 + number)
        moved.update(advance(moved, step, block_size=4))
        anew = pack(step, block_size=4)
        assert moved.keys() == anew.keys()
        for name, array in anew.items():
            np.testing.assert_array_equal(moved[name], array, strict=True)
