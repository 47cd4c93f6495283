"""A step becomes launches in which no row harms another's slot."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.engine.engine_io import DECODE_PROFILE
from llmasos.outputs import FinishReason
from llmasos.sampling import SamplingParams
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Share, SlotCopy, Step
from llmasos_runtime.tensorrt.launch import Launch, SlotError
from llmasos_runtime.tensorrt.packing import Packer, bucket

NUM_SLOTS, MAX_SEQ_LEN, PREFILL_LENGTH = 8, 96, 40


def packer() -> Packer:
    return Packer(num_slots=NUM_SLOTS, max_seq_len=MAX_SEQ_LEN, prefill_length=PREFILL_LENGTH)


def sequence(slot: int, num_tokens: int, num_computed: int) -> Sequence:
    made = Sequence(
        request_id=str(slot),
        token_ids=[100 * (slot + 1) + index for index in range(num_tokens)],
        params=SamplingParams(max_tokens=MAX_SEQ_LEN),
        max_len=MAX_SEQ_LEN,
        end_token_ids=frozenset(),
        seed=0,
    )
    made.num_computed_tokens = num_computed
    made.block_table = [slot]
    return made


def step(*shares: tuple[Sequence, int]) -> Step:
    return Step(tuple(Share(one, count) for one, count in shares))


def test_rows_of_one_token_share_a_launch_and_others_have_their_own() -> None:
    decoding, other = sequence(0, 10, 9), sequence(3, 6, 5)
    prefilling = sequence(1, 20, 0)
    packed = packer().pack(step((decoding, 1), (other, 1), (prefilling, 20)))
    decode, prefill = packed.launches
    assert decode.profile == DECODE_PROFILE and (decode.first_slot, decode.num_rows) == (0, 4)
    assert decode.input_ids[:, 0].tolist() == [109, 0, 0, 405]
    assert decode.position_ids[:, 0].tolist() == [9, 0, 0, 5]
    assert prefill.first_slot == 1 and prefill.input_ids[0, :20].tolist() == prefilling.token_ids
    assert (prefill.length, prefill.last_token_index.tolist()) == (32, [19])
    assert packed.rows == [0, 3, 4]


def test_a_hole_computes_where_nobody_reads() -> None:
    """One never had an owner, one's is between two chunks and not in this step, one's has ended."""
    made = packer()
    chunked, ended = sequence(1, 50, 0), sequence(2, 5, 0)
    made.pack(step((chunked, 30), (ended, 5)))
    chunked.num_computed_tokens, ended.num_computed_tokens = 30, 5
    ended.finish_reason = FinishReason.STOP
    (decode,) = made.pack(step((sequence(0, 4, 3), 1), (sequence(4, 4, 3), 1))).launches
    assert decode.kv_write_index.tolist() == [3, 30, 5, 0, 3, 0, 0, 0]


def test_a_hole_spares_what_is_copied_for_a_sequence_that_has_no_share_yet() -> None:
    made, ended, copied = packer(), sequence(1, 5, 0), sequence(1, 30, 20)
    made.pack(step((ended, 5)))
    ended.num_computed_tokens, ended.finish_reason = 5, FinishReason.STOP
    around = step((sequence(0, 4, 3), 1), (sequence(2, 4, 3), 1))
    around = dataclasses.replace(around, copies=(SlotCopy(6, 1, 20, copied),))
    (decode,) = made.pack(around).launches
    assert decode.kv_write_index.tolist() == [3, 20, 3, 0]


def test_the_slot_of_a_preempted_sequence_is_free() -> None:
    made, preempted = packer(), sequence(1, 50, 0)
    made.pack(step((preempted, 30)))
    preempted.preempt()
    preempted.block_table, preempted.num_computed_tokens = [6], 20
    (decode,) = made.pack(step((sequence(0, 4, 3), 1), (sequence(2, 4, 3), 1))).launches
    assert decode.kv_write_index[1] == 0


def test_a_long_share_is_cut_and_its_last_part_counts() -> None:
    packed = packer().pack(step((sequence(2, 95, 0), 95), (sequence(5, 9, 8), 1)))
    assert [launch.length for launch in packed.launches] == [1, 40, 40, 16]
    assert [int(launch.kv_write_index[0]) for launch in packed.launches[1:]] == [0, 40, 80]
    assert packed.launches[-1].last_token_index.tolist() == [14]
    assert packed.rows == [packed.launches[-1].first_row, 0]


def test_two_sequences_in_one_slot_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="share a slot"):
        packer().pack(step((sequence(2, 9, 0), 9), (sequence(2, 4, 3), 1)))


@pytest.mark.parametrize(("rows", "most", "expected"), [(1, 8, 1), (3, 8, 4), (5, 6, 6), (6, 6, 6)])
def test_numbers_of_rows_are_few(rows: int, most: int, expected: int) -> None:
    assert bucket(rows, most) == expected


@st.composite
def steps(draw: Any) -> list[tuple[int, int, int, int]]:
    """Slot, tokens, computed tokens, share."""
    slots = draw(st.lists(st.integers(0, NUM_SLOTS - 1), min_size=1, unique=True))
    found: list[tuple[int, int, int, int]] = []
    for slot in slots:
        num_tokens = draw(st.integers(1, MAX_SEQ_LEN - 1))
        num_computed = draw(st.integers(0, num_tokens - 1))
        share = draw(st.one_of(st.just(1), st.integers(1, num_tokens - num_computed)))
        found.append((slot, num_tokens, num_computed, share))
    return found


@settings(max_examples=200, deadline=None)
@given(first=steps(), second=steps())
def test_every_launch_stays_in_its_slots_and_spoils_no_token(
    first: list[tuple[int, int, int, int]], second: list[tuple[int, int, int, int]]
) -> None:
    """Slots are played through: after both steps each sequence finds its own tokens."""
    made = packer()
    written: dict[int, dict[int, int]] = {slot: {} for slot in range(NUM_SLOTS)}
    first_ones = {slot: sequence(slot, n, c) for slot, n, c, _ in first}
    for slot, one in first_ones.items():
        written[slot] = dict(enumerate(one.token_ids[: one.num_computed_tokens]))
    shares = {slot: share for slot, _, _, share in first}
    _play(made, step(*((first_ones[slot], shares[slot]) for slot in shares)), written)
    for slot, one in first_ones.items():
        one.num_computed_tokens += shares[slot]
    continued: list[tuple[Sequence, int]] = []
    for slot, _, _, _ in second:
        one = first_ones.get(slot) or sequence(slot, 5, 0)
        if one.num_pending_tokens == 0:
            one.token_ids.append(7)
        if one.num_computed_tokens < MAX_SEQ_LEN:
            continued.append((one, one.num_pending_tokens))
    if continued:
        _play(made, step(*continued), written)
    for one, share in continued:
        one.num_computed_tokens += share
    for one in {id(s): s for s in (*first_ones.values(), *(s for s, _ in continued))}.values():
        expected = dict(enumerate(one.token_ids[: one.num_computed_tokens]))
        own = written[one.block_table[0]]
        assert {k: own[k] for k in expected} == expected


def _play(made: Packer, one: Step, written: dict[int, dict[int, int]]) -> None:
    packed = made.pack(one)
    assert len(packed.rows) == sum(share.is_sampled for share in one.shares)
    for launch in packed.launches:
        launch.check(num_slots=NUM_SLOTS, max_seq_len=MAX_SEQ_LEN)
        for row in range(launch.num_rows):
            begin = int(launch.kv_write_index[row])
            for offset, token in enumerate(launch.input_ids[row].tolist()):
                written[launch.first_slot + row][begin + offset] = token


def launch(**changes: Any) -> Launch:
    right: dict[str, Any] = {
        "profile": DECODE_PROFILE,
        "first_slot": 6,
        "first_row": 0,
        "input_ids": np.zeros((2, 3), np.int32),
        "position_ids": np.array([[93, 94, 95], [0, 1, 2]], np.int32),
        "kv_write_index": np.array([93, 0], np.int32),
        "last_token_index": np.array([0, 5], np.int32),
    }
    return Launch(**right | changes)


def ints(*values: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array(values, np.int32)


def test_what_leaves_its_slot_is_found_before_it_runs() -> None:
    launch().check(num_slots=NUM_SLOTS, max_seq_len=MAX_SEQ_LEN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_slot": 7}, "2 rows from slot 7 on, there are 8"),
        ({"first_slot": -1}, "from slot -1"),
        (
            {"kv_write_index": ints(94, 0), "position_ids": ints([94, 95, 96], [0, 1, 2])},
            "3 tokens end at 97 of a slot of 96",
        ),
        ({"kv_write_index": ints(-1, 0)}, "of a slot of 96"),
        ({"position_ids": ints([93, 94, 95], [1, 2, 3])}, "positions are not where"),
        ({"last_token_index": ints(0, 6)}, "last token is none of its 3"),
        ({"last_token_index": ints(0, 2)}, "last token is none of its 3"),
    ],
)
def test_each_wrong_row_is_named(changes: dict[str, Any], message: str) -> None:
    wrong = dataclasses.replace(launch(), **changes)
    with pytest.raises(SlotError, match=message):
        wrong.check(num_slots=NUM_SLOTS, max_seq_len=MAX_SEQ_LEN)
