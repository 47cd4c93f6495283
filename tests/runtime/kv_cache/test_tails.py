"""A sequence goes on from the part of a block that an ended one has filled."""

from __future__ import annotations

from llmasos.sampling import SamplingParams
from llmasos_runtime.kv_cache.block_memory import BlockMemory
from llmasos_runtime.sequences.sequence import Sequence

SIZE = 4


def sequence(*tokens: int) -> Sequence:
    return Sequence(
        request_id="",
        token_ids=list(tokens),
        params=SamplingParams(),
        max_len=len(tokens) + 1,
        end_token_ids=frozenset(),
        seed=0,
    )


def memory(num_blocks: int = 8, *, copies: bool = True) -> BlockMemory:
    return BlockMemory(
        num_blocks=num_blocks, block_size=SIZE, reuse_prefixes=True, copies_blocks=copies
    )


def ended(blocks: BlockMemory, *tokens: int) -> Sequence:
    """A sequence that has computed these tokens and is gone."""
    one = sequence(*tokens)
    assert blocks.allocate(one, num_reserved=0)
    one.num_computed_tokens = len(tokens)
    blocks.remember(one)
    blocks.free(one)
    return one


def test_the_rest_alone_is_computed_behind_the_copied_part() -> None:
    blocks = memory()
    parent = ended(blocks, 1, 2, 3, 4, 5, 6)
    first, second = sequence(1, 2, 3, 4, 5, 6, 7), sequence(1, 2, 3, 4, 5, 6, 8)
    for child in (first, second):
        assert blocks.allocate(child, num_reserved=0)
        assert child.num_computed_tokens == 6
        assert child.block_table[0] == parent.block_table[0]
    copies = blocks.take_copies()
    assert [(c.source, c.target, c.num_tokens) for c in copies] == [
        (parent.block_table[1], child.block_table[1], 2) for child in (first, second)
    ]
    assert len({parent.block_table[1], first.block_table[1], second.block_table[1]}) == 3
    assert blocks.take_copies() == ()


def test_the_longest_part_that_leaves_a_token_is_taken() -> None:
    blocks = memory()
    ended(blocks, 1)
    ended(blocks, 1, 2, 3)
    for tokens, expected in (((1, 2, 3), 1), ((1, 2, 3, 4), 3), ((1, 2, 9), 1), ((2, 3), 0)):
        child = sequence(*tokens)
        assert blocks.allocate(child, num_reserved=0)
        assert child.num_computed_tokens == expected, tokens
        blocks.take_copies()


def test_a_part_is_gone_with_its_block() -> None:
    blocks = memory(2)
    ended(blocks, 1, 2)
    ended(blocks, *range(10, 18))  # takes both blocks
    child = sequence(1, 2, 3)
    assert blocks.allocate(child, num_reserved=0)
    assert child.num_computed_tokens == 0 and blocks.take_copies() == ()


def test_nothing_is_copied_by_a_runner_that_cannot() -> None:
    blocks = memory(copies=False)
    ended(blocks, 1, 2)
    child = sequence(1, 2, 3)
    assert blocks.allocate(child, num_reserved=0)
    assert child.num_computed_tokens == 0 and blocks.take_copies() == ()
