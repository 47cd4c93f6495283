"""Blocks are lent, counted and come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos_runtime.kv_cache.blocks import BlockPool, blocks_for


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_tokens_fill_whole_blocks(tokens: int, blocks: int) -> None:
    assert blocks_for(tokens, 4) == blocks


def test_a_block_with_two_references_is_free_after_the_second_release() -> None:
    pool = BlockPool(2)
    (block,) = pool.allocate(1)
    pool.share([block])
    pool.release([block])
    assert pool.num_free == 1
    pool.release([block])
    assert pool.num_free == 2


def test_the_lowest_free_block_is_used_first() -> None:
    pool = BlockPool(8)
    assert pool.allocate(4) == [0, 1, 2, 3]
    pool.release([2])
    pool.release([0])
    assert pool.allocate(3) == [0, 2, 4]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda pool: pool.allocate(3),
        lambda pool: pool.release([0]),
        lambda pool: pool.share([1]),
    ],
)
def test_misuse_is_caught_at_once(misuse: object) -> None:
    assert callable(misuse)
    with pytest.raises(AssertionError):
        misuse(BlockPool(2))


def test_a_pool_has_a_block() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        BlockPool(0)


@given(st.lists(st.tuples(st.sampled_from(["allocate", "share", "release"]), st.integers(0, 9))))
def test_no_block_is_lent_twice_or_lost(actions: list[tuple[str, int]]) -> None:
    pool = BlockPool(16)
    tables: list[list[int]] = []
    for action, number in actions:
        if action == "allocate" and number <= pool.num_free:
            tables.append(pool.allocate(number))
            assert not set(tables[-1]) & {b for table in tables[:-1] for b in table}
        elif action == "share" and tables:
            tables.append(list(tables[number % len(tables)]))
            pool.share(tables[-1])
        elif action == "release" and tables:
            pool.release(tables.pop(number % len(tables)))
        assert pool.num_free == 16 - len({b for table in tables for b in table})
