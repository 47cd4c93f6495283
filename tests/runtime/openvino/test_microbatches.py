"""Microbatches of a packed step: rows of equal length that together are the step."""

from __future__ import annotations

from itertools import accumulate, chain

import numpy as np
import pytest
from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.openvino import microbatches as module
from llmasos_runtime.openvino.microbatches import Microbatch, microbatches
from llmasos_runtime.packing import Inputs

SIZE = 4


def inputs(*spans: tuple[int, int], sampled: list[int] | None = None) -> Inputs:
    """Of sequences (tokens in the cache, new tokens) whose blocks are 100, 101, ... and 200, ..."""
    tables = [
        [100 * (row + 1) + block for block in range(blocks_for(past + new, SIZE))]
        for row, (past, new) in enumerate(spans)
    ]
    begins = [0, *accumulate(new for _, new in spans)]
    return {
        "input_ids": np.arange(1000, 1000 + begins[-1]),
        "position_ids": np.array([p for past, new in spans for p in range(past, past + new)]),
        "past_lens": np.array([past for past, _ in spans], np.int32),
        "subsequence_begins": np.array(begins, np.int32),
        "block_indices": np.array(list(chain(*tables)), np.int32),
        "block_indices_begins": np.array([0, *accumulate(map(len, tables))], np.int32),
        "sampled_positions": np.array(
            [end - 1 for end in begins[1:]] if sampled is None else sampled
        ),
    }


def made(*spans: tuple[int, int], sampled: list[int] | None = None) -> list[Microbatch]:
    return microbatches(inputs(*spans, sampled=sampled), block_size=SIZE)


def ids(microbatch: Microbatch) -> list[list[int]]:
    rows: list[list[int]] = microbatch.inputs["input_ids"].tolist()
    return rows


def test_single_tokens_share_a_microbatch_and_each_prompt_has_one() -> None:
    found = made((6, 1), (0, 3), (2, 1), (4, 2))
    assert [ids(microbatch) for microbatch in found] == [
        [[1001, 1002, 1003]],
        [[1005, 1006]],
        [[1000], [1004]],
    ]
    assert found[2].inputs["position_ids"].tolist() == [[6], [2]]
    assert [microbatch.rows.tolist() for microbatch in found] == [[1], [3], [0, 2]]
    assert found[0].inputs["sampled_positions"].tolist() == [2]
    assert found[2].inputs["sampled_positions"].tolist() == [0, 1]


def test_a_row_reads_its_own_past_and_writes_behind_it() -> None:
    (microbatch,) = made((6, 1), (2, 1))
    assert microbatch.inputs["block_table"].tolist() == [[100, 101], [200, 200]]
    assert microbatch.inputs["attention_mask"].tolist() == [
        [1, 1, 1, 1, 1, 1, 0, 0, 1],
        [1, 1, 0, 0, 0, 0, 0, 0, 1],
    ]
    assert (microbatch.blocks.tolist(), microbatch.offsets.tolist()) == ([[101], [200]], [[2], [2]])


def test_a_prompt_without_a_past_reads_one_block_that_is_hidden() -> None:
    (microbatch,) = made((0, 6))
    assert microbatch.inputs["block_table"].tolist() == [[100]]
    assert microbatch.inputs["attention_mask"].tolist() == [[0] * 4 + [1] * 6]
    assert microbatch.blocks.tolist() == [[100] * 4 + [101] * 2]
    assert microbatch.offsets.tolist() == [[0, 1, 2, 3, 0, 1]]


def test_a_microbatch_of_which_nothing_is_wanted_asks_for_one_row_and_gives_none() -> None:
    first, second = made((0, 2), (0, 3), sampled=[1])
    assert (first.rows.tolist(), second.rows.tolist()) == ([0], [])
    assert len(second.inputs["sampled_positions"]) == 1


def test_a_long_prompt_is_cut_and_its_parts_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_MICROBATCH_LENGTH", 8)
    found = made((2, 17), sampled=[3, 9, 16])
    assert [len(row) for microbatch in found for row in ids(microbatch)] == [8, 8, 1]
    assert [microbatch.inputs["position_ids"][0, 0] for microbatch in found] == [2, 10, 18]
    assert [int(microbatch.inputs["attention_mask"].sum()) for microbatch in found] == [10, 18, 19]
    assert [microbatch.rows.tolist() for microbatch in found] == [[0], [1], [2]]


def test_scores_over_a_long_past_are_of_fewer_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MICROBATCH_LENGTH", 8)
    monkeypatch.setattr(module, "MAX_MICROBATCH_SCORES", 8 * 20)
    assert [microbatch.blocks.size for microbatch in made((0, 30))] == [8, 8, 4, 4, 4, 2]
    assert [microbatch.blocks.size for microbatch in made((10_000, 5))] == [2, 2, 1]


def test_rows_that_would_read_too_much_are_parted_by_their_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_GATHERED_TOKENS", 40)
    found = made((30, 1), (5, 1), (90, 1), (6, 1))
    assert [ids(microbatch) for microbatch in found] == [[[1001], [1003]], [[1000]], [[1002]]]
    assert sorted(row for microbatch in found for row in microbatch.rows.tolist()) == [0, 1, 2, 3]


def test_how_many_blocks_are_read_takes_few_values() -> None:
    tokens = range(1, 1024)
    read = [made((past, 1))[0].inputs["block_table"].shape[1] for past in tokens]
    assert all(
        blocks_for(past, SIZE) <= found <= max(1, blocks_for(past, SIZE) * 1.25)
        for past, found in zip(tokens, read, strict=True)
    )
    assert len(set(read)) < 30
