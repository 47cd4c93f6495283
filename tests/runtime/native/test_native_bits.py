"""A sequence's logits are the same bits however its tokens come, and whatever runs beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import needs_native  # noqa: F401
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.engine.plan import Precision
from llmasos.sampling import SamplingParams
from llmasos_runtime.native.forward import NativeForward
from llmasos_runtime.sequences.sequence import Sequence as TokenSequence
from llmasos_runtime.sequences.step import SlotCopy
from native_plans import (
    GEMMA2_FIELDS,
    SMALL_LLAMA,
    Logits,
    Row,
    build,
    loaded,
    packed,
    random_weights,
    spec_of,
)

LENGTH = 70
SEQUENCES = [[(7 * i + i * i * n + n) % 131 for i in range(LENGTH)] for n in range(6)]
TABLES = [[3 * n + 20, 3 * n, 3 * n + 1] for n in range(6)]


GEMMA2 = (
    SMALL_LLAMA
    | GEMMA2_FIELDS
    | {
        "sliding_window": 37,
        "layer_types": ["sliding_attention", "full_attention"],
    }
)


@pytest.fixture(
    scope="module", params=[(SMALL_LLAMA, "int8"), (SMALL_LLAMA, "int4"), (GEMMA2, "int8")]
)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NativeForward]:
    config: dict[str, Any] = request.param[0]
    precision: Precision = request.param[1]
    directory = tmp_path_factory.mktemp("plan")
    spec = spec_of(config)
    plan = build(spec, random_weights(spec), directory, precision)
    with loaded(plan, directory) as forward:
        yield forward


@pytest.fixture(scope="module")
def expected(engine: NativeForward) -> list[Logits]:
    """Each sequence alone, all of it at once."""
    return [
        engine.logits(packed([(tokens, 0, table)])).copy()
        for tokens, table in zip(SEQUENCES, TABLES, strict=True)
    ]


def same_bits(found: Logits, expected: Logits) -> bool:
    return bool((found.view(np.int32) == expected.view(np.int32)).all())


def in_parts(engine: NativeForward, ends: Sequence[int], table: Sequence[int]) -> Logits:
    begins = [0, *ends]
    rows: list[Row] = [
        (SEQUENCES[0][begin:end], begin, table)
        for begin, end in zip(begins, [*ends, LENGTH], strict=True)
    ]
    return np.concatenate([engine.logits(packed([row])).copy() for row in rows])


@settings(max_examples=20)
@given(ends=st.lists(st.integers(1, LENGTH - 1), unique=True).map(sorted))
def test_chunks_change_no_bit(
    engine: NativeForward, expected: list[Logits], ends: list[int]
) -> None:
    assert same_bits(in_parts(engine, ends, [30, 39, 11]), expected[0])


def test_one_token_at_a_time_changes_no_bit(engine: NativeForward, expected: list[Logits]) -> None:
    assert same_bits(in_parts(engine, range(1, LENGTH), [30, 39, 11]), expected[0])


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_others_in_the_batch_change_no_bit(
    engine: NativeForward, expected: list[Logits], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    done = [0] * len(SEQUENCES)
    found: list[list[Logits]] = [[] for _ in SEQUENCES]
    while any(length < LENGTH for length in done):
        order = [n for n in rng.permutation(len(SEQUENCES)).tolist() if done[n] < LENGTH]
        counts = [min(int(rng.integers(1, 30)), LENGTH - done[n]) for n in order]
        rows: list[Row] = [
            (SEQUENCES[n][done[n] : done[n] + count], done[n], TABLES[n])
            for n, count in zip(order, counts, strict=True)
        ]
        parts = np.split(engine.logits(packed(rows)).copy(), np.cumsum(counts)[:-1])
        for n, count, part in zip(order, counts, parts, strict=True):
            found[n].append(part)
            done[n] += count
    assert all(
        same_bits(np.concatenate(own), whole) for own, whole in zip(found, expected, strict=True)
    )


def test_blocks_that_another_sequence_left_behind_change_no_bit(
    engine: NativeForward, expected: list[Logits]
) -> None:
    wild = [130 - token for token in SEQUENCES[3]] + SEQUENCES[4][:20]
    engine.logits(packed([(wild, 0, TABLES[0])]))
    assert same_bits(engine.logits(packed([(SEQUENCES[0], 0, TABLES[0])])), expected[0])


def test_tokens_behind_a_draft_that_was_wrong_change_no_bit(
    engine: NativeForward, expected: list[Logits]
) -> None:
    drafted = [*SEQUENCES[0][:41], 9, 9, 9]
    engine.logits(packed([(drafted, 0, TABLES[0])]))
    rest = engine.logits(packed([(SEQUENCES[0][41:], 41, TABLES[0])]))
    assert same_bits(rest, expected[0][41:])


def test_a_step_of_many_tokens_is_the_same_in_several_passes(
    engine: NativeForward, expected: list[Logits]
) -> None:
    rows: list[Row] = [(tokens, 0, table) for tokens, table in zip(SEQUENCES, TABLES, strict=True)]
    assert len(rows) * LENGTH > 2 * engine._sizes.max_rows
    assert same_bits(engine.logits(packed(rows)), np.concatenate(expected))


def test_the_likeliest_tokens_are_those_of_the_logits(
    engine: NativeForward, expected: list[Logits]
) -> None:
    rows: list[Row] = [(tokens, 0, table) for tokens, table in zip(SEQUENCES, TABLES, strict=True)]
    assert engine.likeliest(packed(rows)) == np.concatenate(expected).argmax(axis=1).tolist()


@settings(max_examples=20)
@given(count=st.integers(33, LENGTH - 1))
def test_going_on_from_a_copied_block_changes_no_bit(
    engine: NativeForward, expected: list[Logits], count: int
) -> None:
    """The block of another sequence holds more tokens than are taken from it."""
    engine.logits(packed([(SEQUENCES[0], 0, TABLES[0])]))
    engine.logits(packed([(SEQUENCES[1][:64], 0, [30, 31])]))  # what lay in the target before
    used = count // 32
    table = [*TABLES[0][:used], *[30, 31][: 3 - used]]
    taker = TokenSequence(
        request_id="",
        token_ids=SEQUENCES[0],
        params=SamplingParams(),
        max_len=LENGTH + 1,
        end_token_ids=frozenset(),
        seed=0,
    )
    engine.copy([SlotCopy(TABLES[0][used], table[used], count % 32, taker)])
    found = engine.logits(packed([(SEQUENCES[0][count:], count, table)]))
    assert same_bits(found, expected[0][count:])
