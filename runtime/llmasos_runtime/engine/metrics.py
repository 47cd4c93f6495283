"""The counts of an engine and the table of metrics that shows them.

To add a metric, add a field to EngineStats, let the code that counts fill it, and add a row to
METRICS. Triton's metrics page and the table in docs/contract.md are made from the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Requests and KV blocks at one moment, and counts since the engine was loaded.

    num_draft_tokens, num_accepted_tokens: draft tokens that were computed, and those accepted.
    max_running: the most requests of a step. num_prefilling: those of the running ones whose
    prompt is not computed yet. block_size: tokens of a KV block.
    """

    num_running: int
    num_waiting: int
    num_blocks: int
    num_free_blocks: int
    num_reused_blocks: int
    num_preemptions: int
    num_steps: int
    num_draft_tokens: int = 0
    num_accepted_tokens: int = 0
    max_running: int = 0
    num_prefilling: int = 0
    block_size: int = 0

    @property
    def num_active(self) -> int:
        return self.num_running + self.num_waiting

    @property
    def num_used_blocks(self) -> int:
        return self.num_blocks - self.num_free_blocks

    @property
    def used_fraction(self) -> float:
        """The used part of the KV cache, to a thousandth."""
        return round(self.num_used_blocks / self.num_blocks, 3) if self.num_blocks else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Metrics of one name, told apart by the value of a label.

    A gauge shows a number as it is. A counter never falls, and its rate can be asked for.
    """

    name: str
    label: str
    kind: Literal["gauge", "counter"]
    help: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One number on the metrics page: `family.name{family.label="label_value"}`."""

    family: Family
    label_value: str
    help: str
    value: Callable[[EngineStats], float]


_REQUESTS = Family(
    name="nv_trt_llm_request_metrics",
    label="request_type",
    kind="gauge",
    help="Requests in the engine",
)
_BLOCKS = Family(
    name="nv_trt_llm_kv_cache_block_metrics",
    label="kv_cache_block_type",
    kind="gauge",
    help="Blocks of the KV cache",
)
_GENERAL = Family(
    name="nv_trt_llm_general_metrics",
    label="general_type",
    kind="gauge",
    help="Steps of the engine, and preemptions",
)
_SPECULATION = Family(
    name="nv_llmasos_speculation_tokens",
    label="speculation_type",
    kind="counter",
    help="Draft tokens that were computed, and those that were accepted",
)

METRICS = (
    Metric(_REQUESTS, "active", "requests that run or wait", lambda s: s.num_active),
    Metric(_REQUESTS, "scheduled", "requests that run", lambda s: s.num_running),
    Metric(_REQUESTS, "waiting", "requests in the queue", lambda s: s.num_waiting),
    Metric(_REQUESTS, "max", "the most requests that run at once", lambda s: s.max_running),
    Metric(_REQUESTS, "context", "requests whose prompt is computed", lambda s: s.num_prefilling),
    Metric(_BLOCKS, "max", "KV blocks of the engine", lambda s: s.num_blocks),
    Metric(_BLOCKS, "free", "KV blocks in no sequence", lambda s: s.num_free_blocks),
    Metric(_BLOCKS, "used", "KV blocks in sequences", lambda s: s.num_used_blocks),
    Metric(
        _BLOCKS,
        "reused",
        "KV blocks found in the prefix cache so far",
        lambda s: s.num_reused_blocks,
    ),
    Metric(_BLOCKS, "fraction", "used part of the KV blocks, 0 to 1", lambda s: s.used_fraction),
    Metric(_BLOCKS, "tokens_per", "tokens of a KV block", lambda s: s.block_size),
    Metric(_GENERAL, "iteration_counter", "steps so far", lambda s: s.num_steps),
    Metric(_GENERAL, "preemption_counter", "preemptions so far", lambda s: s.num_preemptions),
    Metric(_SPECULATION, "drafted", "draft tokens computed so far", lambda s: s.num_draft_tokens),
    Metric(
        _SPECULATION, "accepted", "draft tokens accepted so far", lambda s: s.num_accepted_tokens
    ),
)
"""In the order in which the docs list them. The names of the first three families are classic."""


def markdown_table() -> str:
    """The rows for docs/contract.md."""
    rows = [
        f'| `{m.family.name}{{{m.family.label}="{m.label_value}"}}` | {m.family.kind} | {m.help} |'
        for m in METRICS
    ]
    return "\n".join(["| metric | kind | what it shows |", "|---|---|---|", *rows])
