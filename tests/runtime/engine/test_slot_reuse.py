"""Where a KV block is a whole slot, a known beginning is copied into the slot of another."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.engine.engine_io import DECODE_PROFILE
from llmasos.outputs import FinishReason
from llmasos_runtime.kv_cache.slot_memory import common_length
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Step
from llmasos_runtime.tensorrt.launch import Launch
from llmasos_runtime.tensorrt.packing import Packer
from made_sequences import scheduler, sequence

SLOT, LEAST = 64, 4
PROMPT = list(range(100, 110))


def slots(num_slots: int = 4, **options: int) -> Scheduler:
    options = {"max_num_tokens": 64, "max_batch_size": num_slots, **options}
    return scheduler(
        num_blocks=num_slots,
        block_size=SLOT,
        reuse_prefixes=True,
        min_copied_tokens=LEAST,
        **options,
    )


def prompted(token_ids: list[int], *, max_tokens: int = 1) -> Sequence:
    one = sequence(prompt=len(token_ids), max_tokens=max_tokens)
    one.token_ids = list(token_ids)
    return one


def run(s: Scheduler) -> Step:
    step = s.schedule()
    s.commit(step, [900 + one.num_output_tokens for one in step.sampled])
    return step


def begin(s: Scheduler, token_ids: list[int], *, max_tokens: int = 20) -> tuple[Sequence, Step]:
    """Admit it and run its first step."""
    one = prompted(token_ids, max_tokens=max_tokens)
    s.add(one)
    return one, run(s)


def copies(step: Step) -> list[tuple[int, int, int]]:
    return [copy[:3] for copy in step.copies]


def test_what_a_running_sequence_has_is_copied_from_its_slot() -> None:
    s = slots()
    first, step = begin(s, PROMPT)
    assert copies(step) == []
    second, step = begin(s, [*PROMPT[:7], 1, 2])
    assert (first.block_table, second.block_table, copies(step)) == ([0], [1], [(0, 1, 7)])
    assert [share.num_tokens for share in step.shares if share.sequence is second] == [2]
    assert (second.num_cached_tokens, s.num_reused_blocks) == (7, 1)
    assert copies(run(s)) == [], "once is enough"


def test_one_token_is_always_left_to_compute() -> None:
    s = slots()
    begin(s, PROMPT)
    again, step = begin(s, PROMPT)
    assert copies(step) == [(0, 1, 9)] and again.num_cached_tokens == 9


def test_what_is_too_short_to_pay_is_computed() -> None:
    s = slots()
    begin(s, PROMPT)
    other, step = begin(s, [*PROMPT[: LEAST - 1], 1, 2])
    assert (copies(step), other.num_cached_tokens, s.num_reused_blocks) == ([], 0, 0)
    other, step = begin(s, [*PROMPT[:LEAST], 1, 2])
    assert (copies(step), other.num_cached_tokens) == ([(0, 2, LEAST)], LEAST)


def test_a_chat_that_goes_on_gets_its_own_slot_and_nothing_is_copied() -> None:
    s = slots()
    first, _ = begin(s, PROMPT, max_tokens=3)
    while first.finish_reason is None:
        run(s)
    begin(s, [1, 2, 3])
    goes_on, step = begin(s, [*first.token_ids, 5, 6])
    assert (goes_on.block_table, copies(step)) == ([0], [])
    assert goes_on.num_cached_tokens == len(first.token_ids) - 1, "the last was not computed"
    assert s.num_reused_blocks == 1


def test_a_free_slot_that_holds_more_than_is_wanted_keeps_it_while_there_are_others() -> None:
    s = slots()
    first, _ = begin(s, PROMPT, max_tokens=1)
    assert first.finish_reason is not None
    again, step = begin(s, [*PROMPT[:8], 1], max_tokens=1)
    assert (again.block_table, copies(step)) == ([1], [(0, 1, 8)])
    assert begin(s, [*PROMPT, 1])[0].num_cached_tokens == 10


def test_the_last_free_slot_is_used_where_it_is() -> None:
    s = slots(num_slots=1)
    begin(s, PROMPT, max_tokens=1)
    again, step = begin(s, [*PROMPT[:3], 1, 2], max_tokens=1)
    assert (again.num_cached_tokens, copies(step)) == (3, []), "what costs nothing always pays"
    assert begin(s, PROMPT)[0].num_cached_tokens == 3


def test_the_slot_that_was_free_for_longest_is_lost_first() -> None:
    s = slots(num_slots=2)
    for head in (1, 2, 3):
        begin(s, [head, *PROMPT], max_tokens=1)
    assert begin(s, [1, *PROMPT, 5], max_tokens=1)[0].num_cached_tokens == 0
    assert begin(s, [3, *PROMPT, 5], max_tokens=1)[0].num_cached_tokens == 11


def test_slots_in_use_stay_together() -> None:
    """Others are empty, or hold just what is wanted: but these two make the smallest step."""
    s = slots(num_slots=8)
    running = [begin(s, [head, *PROMPT], max_tokens=20)[0] for head in range(4)]
    for index in (0, 3, 1):
        s.finish(running[index], FinishReason.ABORT)
    other, step = begin(s, [0, *PROMPT, 7])
    assert running[2].block_table == [2]
    assert other.block_table == [3], "beside the one in use, and free for longer than 1"
    assert copies(step) == [(0, 3, 11)]


def test_copies_of_one_step_are_made_in_their_order() -> None:
    """The second is from where the first goes to."""
    s = slots()
    begin(s, PROMPT)
    s.add(prompted([*PROMPT, 1, 2], max_tokens=9))
    s.add(prompted([*PROMPT, 1, 3], max_tokens=9))
    assert copies(run(s)) == [(0, 1, 10), (0, 2, 10)]


def test_a_prompt_that_led_to_no_token_is_not_copied() -> None:
    s = slots()
    s.add(prompted(PROMPT))
    assert s.commit(s.schedule(), [None])[0].error is not None
    assert s.num_free_blocks == 4
    other, step = begin(s, PROMPT)
    assert (other.num_cached_tokens, copies(step)) == (0, [])


def test_a_cancelled_prompt_leaves_what_was_computed() -> None:
    s = slots(max_num_tokens=6)
    one = prompted(PROMPT)
    s.add(one)
    s.commit(s.schedule(), [])
    step = s.schedule()
    s.finish(one, FinishReason.ABORT)
    s.commit(step, [9])
    assert begin(s, PROMPT)[0].num_cached_tokens == 6


@pytest.mark.parametrize(
    ("left", "right", "length"), [("", "a", 0), ("ab", "abc", 2), ("b", "a", 0)]
)
def test_the_length_of_what_is_common(left: str, right: str, length: int) -> None:
    assert common_length(list(map(ord, left)), list(map(ord, right))) == length


@dataclass
class SimulatedSlots:
    """What each place of each slot holds: all tokens up to its own, or rubbish (None)."""

    num_slots: int
    content: list[list[tuple[int, ...] | None]] = field(init=False)

    def __post_init__(self) -> None:
        self.content = [[None] * SLOT for _ in range(self.num_slots)]
        self.packer = Packer(num_slots=self.num_slots, max_seq_len=SLOT, prefill_length=16)

    def run(self, step: Step) -> None:
        """Copy, then launch: every row writes, and then reads what must be its own."""
        for copy in step.copies:
            self.content[copy.target][: copy.num_tokens] = self.content[copy.source][
                : copy.num_tokens
            ]
        shares = {share.sequence.block_table[0]: share for share in step.shares}
        for launch in self.packer.pack(step).launches:
            launch.check(num_slots=self.num_slots, max_seq_len=SLOT)
            for row in range(launch.num_rows):
                slot = launch.first_slot + row
                share = shares.get(slot)
                is_idle = share is None or (
                    launch.profile == DECODE_PROFILE and share.num_tokens != 1
                )
                self._row(launch, row, None if is_idle or share is None else share.sequence)

    def _row(self, launch: Launch, row: int, owner: Sequence | None) -> None:
        content = self.content[launch.first_slot + row]
        begin = int(launch.kv_write_index[row])
        num_real = int(launch.last_token_index[row]) - row * launch.length + 1
        for offset in range(launch.length):
            is_real = owner is not None and offset < num_real
            place = begin + offset
            content[place] = tuple(owner.token_ids[: place + 1]) if owner and is_real else None
        if owner is not None:
            for place in range(begin + num_real):
                assert content[place] == tuple(owner.token_ids[: place + 1]), "not its own"


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 20), st.integers(0, 30), st.integers(1, 20)),
        st.tuples(st.just("go on"), st.integers(0, 20), st.integers(1, 9), st.integers(1, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0), st.just(0)),
        st.tuples(st.just("steps"), st.integers(1, 9), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@given(actions=ACTIONS, num_slots=st.sampled_from([1, 3, 5, 8]))
@settings(max_examples=150, deadline=None)
def test_every_sequence_reads_its_own_tokens_alone(
    actions: list[tuple[str, int, int, int]], num_slots: int
) -> None:
    s, cache = slots(num_slots, max_num_tokens=24, max_queue_size=99), SimulatedSlots(num_slots)
    asked: list[Sequence] = []

    def steps(most: int) -> None:
        for _ in range(most):
            step = s.schedule()
            if not step.shares:
                return
            cache.run(step)
            s.commit(step, [900 + one.num_output_tokens % 3 for one in step.sampled])

    for kind, number, length, max_tokens in actions:
        if kind == "steps":
            steps(number)
        elif kind == "cancel" and asked:
            s.finish(asked[number % len(asked)], FinishReason.ABORT)
        elif kind in ("ask", "go on"):
            head = [7] * number
            if kind == "go on" and asked:
                head = asked[number % len(asked)].token_ids
            tokens = [*head, *(length + n % 2 for n in range(length + 1))]
            tokens = tokens[: SLOT - max_tokens]
            asked.append(prompted(tokens, max_tokens=max_tokens))
            s.add(asked[-1])
    steps(2000)
    assert all(one.finish_reason is not None for one in asked)
    assert s.num_free_blocks == num_slots
