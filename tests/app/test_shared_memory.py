"""The memory of several engines is divided so that all fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.plan import Limits
from llmasos.errors import InvalidRequestError, PlanError
from llmasos_app.memory_plan import MemoryPlan
from llmasos_app.named_checkpoint import NamedCheckpoint, named_checkpoints
from llmasos_app.shared_memory import checked_split, share_memory
from llmasos_runtime.machine.memory_need import MemoryNeed

NAMES = ("a", "b")


def plan(block_bytes: int, *, weights: int = 1000, memory: int = 100_000) -> MemoryPlan:
    """An engine of four sequences of ten blocks."""
    nothing: Any = None
    need = MemoryNeed(
        mapped=weights, packed=0, activations=0, overhead=0, block_size=32, block_bytes=block_bytes
    )
    return MemoryPlan(
        name="one",
        target="openvino",
        precision="f32",
        kv_cache_precision="f32",
        limits=Limits(max_seq_len=320, max_batch_size=4, max_num_tokens=64),
        sizes=nothing,
        need=need,
        memory=memory,
        memory_source="given",
    )


def test_each_gets_room_for_a_full_batch_where_there_is_enough() -> None:
    plans = [plan(10), plan(20), plan(0)]
    for split in ("need", "equal"):
        shared = share_memory(plans, (*NAMES, "c"), split=checked_split(split))
        assert shared.kv_cache_bytes == (400, 800, 0)
        assert shared.without_cache == 3000


def test_less_is_divided_by_need_or_equally_and_each_can_hold_a_sequence() -> None:
    plans = [plan(10), plan(30), plan(0)]
    by_need = share_memory(plans, (*NAMES, "c"), kv_cache_bytes=800)
    assert by_need.kv_cache_bytes == (100 + 100, 300 + 300, 0)
    equal = share_memory(plans, (*NAMES, "c"), kv_cache_bytes=800, split="equal")
    assert equal.kv_cache_bytes == (100 + 200, 300 + 200, 0)
    least = share_memory(plans, (*NAMES, "c"), kv_cache_bytes=400, split="equal")
    assert least.kv_cache_bytes == (100, 300, 0)


def test_what_one_does_not_use_goes_to_the_others() -> None:
    plans = [plan(10, memory=10_000), plan(100, memory=10_000)]
    left = (10_000 - 2000) // 4
    shared = share_memory(plans, NAMES, split="equal")
    assert shared.kv_cache_bytes == (400, left - 400)


def test_a_budget_is_used_whole_also_beyond_a_full_batch() -> None:
    shared = share_memory([plan(10), plan(10)], NAMES, kv_cache_bytes=8000)
    assert shared.kv_cache_bytes == (4000, 4000)


def test_what_does_not_fit_is_refused_with_the_share_of_each() -> None:
    plans = [plan(10, weights=60_000), plan(20, weights=70_000)]
    with pytest.raises(PlanError, match=r"a 60\.1 kB, b 70\.2 kB\), 100\.0 kB are available"):
        share_memory(plans, NAMES)
    with pytest.raises(PlanError, match=r"kv_cache_bytes is 299 bytes; .* each model needs 300"):
        share_memory([plan(10), plan(20)], NAMES, kv_cache_bytes=299)
    with pytest.raises(PlanError, match="98000 are left beside the weights"):
        share_memory([plan(10), plan(20)], NAMES, kv_cache_bytes=98_001)
    with pytest.raises(InvalidRequestError, match="must be need or equal, got 'half'"):
        checked_split("half")


def test_memory_is_the_least_that_any_of_them_may_use() -> None:
    plans = [plan(10), replace(plan(10), memory=50_000)]
    assert share_memory(plans, NAMES).memory == 50_000


def test_a_name_stands_before_its_checkpoint(tmp_path: Path) -> None:
    assert NamedCheckpoint.parse("fast=org/model") == NamedCheckpoint(
        name="fast", checkpoint="org/model"
    )
    assert NamedCheckpoint.parse("org/model").name is None
    strange = tmp_path / "a=b"
    strange.mkdir()
    assert NamedCheckpoint.parse(str(strange)).name is None
    assert NamedCheckpoint.parse(f"x={strange}").checkpoint == str(strange)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["a=x", "a=y"], "two models would be served as 'a'"),
        (["engine=x"], "cannot be served as 'engine'"),
        (["a b=x"], "got 'a b'"),
        (["a="], "'a=' names a model without its checkpoint"),
        (["=x"], "got ''"),
    ],
)
def test_a_wrong_name_is_refused(models: list[str], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        named_checkpoints(models)
