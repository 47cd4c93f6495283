"""The memory of several engines of one machine, planned together before any is loaded.

What is left after all weights, activations and code goes to the KV caches. Each engine alone takes
room for a full batch, but at most a quarter of what is free; together they divide that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from llmasos.byte_size import format_bytes
from llmasos.errors import InvalidRequestError, PlanError
from llmasos_runtime.kv_cache.blocks import blocks_for

from llmasos_app.memory_plan import MemoryPlan

KVCacheSplit = Literal["need", "equal"]
_CACHE_SHARE = 0.25
"""Largest share of what is left for the KV caches, unless their bytes are given."""


def checked_split(text: str) -> KVCacheSplit:
    """The same text; raises InvalidRequestError for what is no split."""
    for split in get_args(KVCacheSplit):
        if text == split:
            return cast("KVCacheSplit", text)
    raise InvalidRequestError(f"kv_cache_split must be need or equal, got {text!r:.50}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedMemory:
    """kv_cache_bytes: of each engine, in the order of `plans`; 0 for one without a KV cache."""

    plans: tuple[MemoryPlan, ...]
    memory: int
    kv_cache_bytes: tuple[int, ...]

    @property
    def without_cache(self) -> int:
        """Bytes of all engines without their KV caches."""
        return sum(plan.need.without_cache for plan in self.plans)

    def record(self) -> dict[str, Any]:
        """All of it for machines; sizes are bytes."""
        return {
            "models": [plan.record() for plan in self.plans],
            "without_kv_cache_bytes": self.without_cache,
            "kv_cache_bytes": list(self.kv_cache_bytes),
            "memory_bytes": self.memory,
        }


def share_memory(
    plans: Sequence[MemoryPlan],
    names: Sequence[str],
    *,
    kv_cache_bytes: int | None = None,
    split: KVCacheSplit = "need",
) -> SharedMemory:
    """Divides the memory of a machine among engines for CPUs.

    names: of the models, for messages. kv_cache_bytes: of all KV caches together. split: "need"
    gives each engine memory in proportion to the cache of its full batch, "equal" gives each the
    same. Every cache holds at least one sequence of max_seq_len. Raises PlanError where the
    engines do not fit.
    """
    memory = min(plan.memory for plan in plans)
    needs = [plan.need.without_cache for plan in plans]
    least = [_sequence_bytes(plan) for plan in plans]
    full = [one * plan.limits.max_batch_size for one, plan in zip(least, plans, strict=True)]
    left = memory - sum(needs)
    if left < sum(least):
        raise PlanError(
            f"the models need {format_bytes(sum(needs) + sum(least))} together "
            f"({_listed(names, needs, least)}), {format_bytes(memory)} are available here",
            hint="serve fewer of them, or build with a smaller --max-seq-len",
        )
    if kv_cache_bytes is None:
        budget = max(int(left * _CACHE_SHARE), sum(least))
    else:
        budget = _checked_budget(kv_cache_bytes, names, least, left)
    shares = _divided(budget, least, full, split, is_given=kv_cache_bytes is not None)
    return SharedMemory(plans=tuple(plans), memory=memory, kv_cache_bytes=tuple(shares))


def _checked_budget(budget: int, names: Sequence[str], least: list[int], left: int) -> int:
    if budget > left:
        raise PlanError(
            f"kv_cache_bytes is {budget} bytes; {left} are left beside the weights of all models"
        )
    if budget < sum(least):
        raise PlanError(
            f"kv_cache_bytes is {budget} bytes; one sequence of max_seq_len of each model needs "
            f"{sum(least)} ({_listed(names, least)})",
            hint="give them more, or build with a smaller --max-seq-len",
        )
    return budget


def _divided(
    budget: int, least: list[int], full: list[int], split: KVCacheSplit, *, is_given: bool
) -> list[int]:
    """One sequence each, and then the rest; a budget that nobody gave is not more than is used."""
    weights = [float(most if split == "need" else most > 0) for most in full]
    shares = list(least)
    rest = budget - sum(least)
    open_to_more = [number for number, weight in enumerate(weights) if weight]
    while rest > 0 and open_to_more:
        total = sum(weights[number] for number in open_to_more)
        parts = {number: int(rest * weights[number] / total) for number in open_to_more}
        filled = [n for n in open_to_more if not is_given and shares[n] + parts[n] >= full[n]]
        for number in filled or open_to_more:
            added = full[number] - shares[number] if filled else parts[number]
            shares[number] += added
            rest -= added
        if not filled:
            break
        open_to_more = [number for number in open_to_more if number not in filled]
    return shares


def _sequence_bytes(plan: MemoryPlan) -> int:
    blocks = plan.need.texts_each * blocks_for(plan.limits.max_seq_len, plan.need.block_size)
    return blocks * plan.need.block_bytes


def _listed(names: Sequence[str], *sizes: Sequence[int]) -> str:
    sums = [sum(each) for each in zip(*sizes, strict=True)]
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in zip(names, sums, strict=True))
