"""A step as the arrays that paged attention reads."""

from __future__ import annotations

import numpy as np
from llmasos_runtime.openvino.packing import SAMPLED_POSITIONS, pack
from llmasos_runtime.step import Share, Step
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
