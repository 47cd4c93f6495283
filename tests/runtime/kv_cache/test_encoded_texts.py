"""The blocks of an encoder's text: shared by all who read it, and evicted together."""

from __future__ import annotations

from llmasos.sampling import SamplingParams
from llmasos_runtime.kv_cache.block_memory import BlockMemory
from llmasos_runtime.sequences.sequence import Sequence

SIZE = 4
TEXT, OTHER = tuple(range(10, 16)), tuple(range(30, 39))  # 2 and 3 blocks


def sequence(text: tuple[int, ...], *tokens: int) -> Sequence:
    return Sequence(
        request_id="",
        token_ids=list(tokens or (1,)),
        params=SamplingParams(),
        max_len=40,
        end_token_ids=frozenset(),
        seed=0,
        encoder_token_ids=text,
    )


def memory(num_blocks: int = 12, *, reuse: bool = True, most: int = 100) -> BlockMemory:
    return BlockMemory(
        num_blocks=num_blocks, block_size=SIZE, reuse_prefixes=reuse, max_text_tokens=most
    )


def admitted(blocks: BlockMemory, *sequences: Sequence) -> list[Sequence]:
    assert all(blocks.allocate(one, num_reserved=0) for one in sequences)
    return list(sequences)


def test_a_text_is_encoded_once_for_all_who_read_it() -> None:
    blocks = memory()
    first, second, other = admitted(blocks, sequence(TEXT), sequence(TEXT), sequence(OTHER))
    assert first.encoder_table == second.encoder_table
    assert not {*first.encoder_table} & {*other.encoder_table, *first.block_table}
    assert [text.token_ids for text in blocks.take_texts()] == [TEXT, OTHER]
    assert blocks.take_texts() == ()
    assert blocks.num_free == 12 - 2 - 3 - 3


def test_a_text_outlives_its_readers_until_its_memory_is_needed() -> None:
    blocks = memory(6)
    (first,) = admitted(blocks, sequence(TEXT))
    table = first.encoder_table
    blocks.take_texts()
    blocks.free(first)
    assert blocks.num_free == 6 and first.encoder_table == []
    (second,) = admitted(blocks, sequence(TEXT))
    assert second.encoder_table == table and blocks.take_texts() == ()
    blocks.free(second)
    (third,) = admitted(blocks, sequence(tuple(range(50, 66)), 1))  # 4 blocks and 1
    blocks.take_texts()
    blocks.free(third)
    (fourth,) = admitted(blocks, sequence(TEXT))
    assert [text.token_ids for text in blocks.take_texts()] == [TEXT], "it was evicted"
    assert len(fourth.encoder_table) == 2


def test_answers_share_a_beginning_only_behind_the_same_text() -> None:
    blocks = memory(20)
    begin = (1, 2, 3, 4, 5)
    (first,) = admitted(blocks, sequence(TEXT, *begin))
    first.num_computed_tokens = len(begin)
    blocks.remember(first)
    same, other, none = admitted(
        blocks, sequence(TEXT, *begin), sequence(OTHER, *begin), sequence((), *begin)
    )
    assert same.num_computed_tokens == SIZE
    assert same.block_table[0] == first.block_table[0]
    assert other.num_computed_tokens == none.num_computed_tokens == 0


def test_nothing_is_shared_where_reuse_is_off() -> None:
    blocks = memory(reuse=False)
    first, second = admitted(blocks, sequence(TEXT), sequence(TEXT))
    assert not {*first.encoder_table} & {*second.encoder_table}
    assert len(blocks.take_texts()) == 2
    blocks.free(first)
    blocks.free(second)
    assert blocks.num_free == 12


def test_a_step_encodes_no_more_tokens_than_it_may_unless_it_is_one_text() -> None:
    blocks = memory(most=7)
    assert blocks.allocate(sequence(OTHER), num_reserved=0), "one text is always encoded"
    assert not blocks.allocate(sequence(TEXT), num_reserved=0)
    assert blocks.allocate(sequence(OTHER), num_reserved=0), "it is encoded already"
    blocks.take_texts()
    assert blocks.allocate(sequence(TEXT), num_reserved=0)


def test_a_sequence_waits_for_the_blocks_of_its_text() -> None:
    blocks = memory(3)
    assert not blocks.allocate(sequence(OTHER), num_reserved=0)
    assert blocks.num_free == 3 and blocks.take_texts() == ()
    assert blocks.allocate(sequence((), 1), num_reserved=0)
