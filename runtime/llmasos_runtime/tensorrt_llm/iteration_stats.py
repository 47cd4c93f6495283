"""Statistics of TensorRT-LLM's KV cache. It has never run with that package."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)
_PERIOD_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationStats:
    """The newest numbers; 0 also stands for those that are missing."""

    num_blocks: int = 0
    num_free_blocks: int = 0
    num_reused_blocks: int = 0
    num_steps: int = 0
    cpu_bytes: int = 0
    gpu_bytes: int = 0
    pinned_bytes: int = 0

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> IterationStats:
        """stats: one item of `LLM.get_stats_async`."""
        cache = stats.get("kvCacheStats") or {}
        return cls(
            num_blocks=_count(cache, "maxNumBlocks"),
            num_free_blocks=_count(cache, "freeNumBlocks"),
            num_reused_blocks=_count(cache, "reusedBlocks"),
            num_steps=_count(stats, "iter"),
            cpu_bytes=_count(stats, "cpuMemUsage"),
            gpu_bytes=_count(stats, "gpuMemUsage"),
            pinned_bytes=_count(stats, "pinnedMemUsage"),
        )


class LatestStats:
    """newest: the latest report."""

    def __init__(self) -> None:
        self.newest = IterationStats()

    async def follow(self, llm: Any, has_begun: Callable[[], object]) -> None:
        """Reads the reports of a `tensorrt_llm.LLM` until this is cancelled.

        Iterating over its reports ends when none came for a while. has_begun: whether it has had a
        request: before that it has no reports, and prints so each time.
        """
        try:
            while True:
                await asyncio.sleep(_PERIOD_S)
                if not has_begun():
                    continue
                async for stats in llm.get_stats_async(timeout=_PERIOD_S):
                    self.newest = IterationStats.of(stats)
        except Exception:  # noqa: BLE001 - gauges must not stop what they show
            _log.exception("TensorRT-LLM gives no statistics")


def _count(numbers: Mapping[str, Any], name: str) -> int:
    value = numbers.get(name)
    return value if isinstance(value, int) and value >= 0 else 0
