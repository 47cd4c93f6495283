"""A prompt that begins like an earlier sequence shares its full blocks."""

from __future__ import annotations

from llmasos.outputs import FinishReason
from llmasos_runtime.kv_cache.prefix_cache import PrefixCache
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.sequence import ROOT, Sequence
from made_sequences import scheduler, sequence


def prompted(token_ids: list[int], *, max_tokens: int = 1) -> Sequence:
    one = sequence(prompt=len(token_ids), max_tokens=max_tokens)
    one.token_ids = list(token_ids)
    return one


def finish(s: Scheduler, one: Sequence, token_id: int = 9) -> Sequence:
    s.add(one)
    while one.finish_reason is None:
        step = s.schedule()
        s.commit(step, [token_id] * len(step.sampled))
    return one


def reusing(**options: int) -> Scheduler:
    return scheduler(reuse_prefixes=True, **options)


PROMPT = list(range(100, 111))  # two full blocks of 4 and three tokens


def test_the_same_prompt_is_computed_from_its_last_block_on() -> None:
    s = reusing()
    first = finish(s, prompted(PROMPT))
    again = prompted(PROMPT)
    s.add(again)
    (share,) = s.schedule().shares
    assert share.num_tokens == 3
    assert again.block_table[:2] == first.block_table[:2]
    assert (first.num_cached_tokens, again.num_cached_tokens) == (0, 8)
    assert s.num_reused_blocks == 2


def test_one_token_is_always_left_to_compute() -> None:
    s = reusing()
    finish(s, prompted(PROMPT[:8]))
    assert finish(s, prompted(PROMPT[:8])).num_cached_tokens == 4
    assert finish(s, prompted(PROMPT[:9])).num_cached_tokens == 8


def test_sharing_ends_where_the_prompts_part() -> None:
    s = reusing()
    finish(s, prompted(PROMPT))
    other = [*PROMPT[:5], 1, *PROMPT[6:]]
    assert finish(s, prompted(other)).num_cached_tokens == 4
    assert finish(s, prompted([1, *PROMPT[1:]])).num_cached_tokens == 0


def test_the_same_tokens_after_another_beginning_are_not_shared() -> None:
    s = reusing()
    finish(s, prompted(PROMPT))
    assert finish(s, prompted([1, 2, 3, 4, *PROMPT[4:]])).num_cached_tokens == 0


def test_an_answer_can_be_continued_where_it_ended() -> None:
    s = reusing()
    answered = finish(s, prompted(PROMPT, max_tokens=6))
    conversation = [*answered.token_ids, 5, 6]
    assert finish(s, prompted(conversation)).num_cached_tokens == 16


def test_running_sequences_share_too() -> None:
    s = reusing()
    first, second = prompted(PROMPT, max_tokens=9), prompted(PROMPT)
    s.add(first)
    step = s.schedule()
    s.commit(step, [9])
    free = s.num_free_blocks
    s.add(second)
    s.schedule()
    assert first.finish_reason is None
    assert second.block_table[:2] == first.block_table[:2]
    assert free - s.num_free_blocks == len(second.block_table) - 2


def test_what_is_kept_counts_as_free_and_goes_when_it_is_needed_the_oldest_first() -> None:
    s = reusing(num_blocks=6)
    finish(s, prompted(PROMPT))
    finish(s, prompted([50, *PROMPT]))
    assert s.num_free_blocks == 6
    finish(s, prompted(list(range(10))))  # three blocks: two empty ones, and one that was kept
    assert finish(s, prompted([50, *PROMPT])).num_cached_tokens == 8
    assert finish(s, prompted(PROMPT)).num_cached_tokens in (0, 4)


def test_a_chain_is_lost_from_its_end() -> None:
    s = reusing(num_blocks=5)
    finish(s, prompted(list(range(100, 116))))  # four full blocks
    finish(s, prompted([1, 2, 3, 4, 5]))  # the empty block, and one that was kept
    assert finish(s, prompted(list(range(100, 117)))).num_cached_tokens == 12


def test_a_cancelled_prompt_leaves_only_what_was_computed() -> None:
    s = reusing(max_num_tokens=8)
    one = prompted(PROMPT)
    s.add(one)
    s.commit(s.schedule(), [])
    step = s.schedule()
    s.finish(one, FinishReason.ABORT)
    s.commit(step, [9])
    assert finish(s, prompted(PROMPT)).num_cached_tokens == 8


def test_a_prompt_that_led_to_no_token_is_computed_again() -> None:
    s = reusing()
    s.add(prompted(PROMPT))
    assert s.commit(s.schedule(), [None])[0].error is not None
    assert s.num_free_blocks == s.num_blocks
    assert finish(s, prompted(PROMPT)).num_cached_tokens == 0
    assert finish(s, prompted(PROMPT)).num_cached_tokens == 8


def test_without_reuse_everything_is_computed() -> None:
    s = scheduler()
    finish(s, prompted(PROMPT))
    assert finish(s, prompted(PROMPT)).num_cached_tokens == 0


def test_what_follows_a_forgotten_block_is_not_found_under_its_successor() -> None:
    cache = PrefixCache(2)
    first = cache.add(ROOT, [1, 2], 7)
    cache.add(first, [3, 4], 8)
    assert cache.find([1, 2, 3, 4, 5]).blocks == [7, 8]
    cache.forget(7)
    assert 7 not in cache
    assert cache.find([1, 2, 3, 4, 5]).blocks == []
    cache.add(ROOT, [1, 2], 9)
    assert cache.find([1, 2, 3, 4, 5]).blocks == [9]
    cache.forget(8)


def test_of_two_blocks_with_one_content_the_first_stays_known() -> None:
    cache = PrefixCache(2)
    number = cache.add(ROOT, [1, 2], 7)
    assert cache.add(ROOT, [1, 2], 8) == number
    assert 8 not in cache
