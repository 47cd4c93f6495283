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
    prompt is not computed yet. block_size: tokens of a KV block. num_paused: requests that were
    preempted and wait to go on. num_context_tokens: tokens of prompts in the last step.
    cpu_bytes, gpu_bytes, pinned_bytes: memory of the engine's process, 0 where it is not known.
    time_us: when these numbers were taken, in microseconds since 1970. num_restarts: how often
    the server was started again before.
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
    num_paused: int = 0
    num_context_tokens: int = 0
    cpu_bytes: int = 0
    gpu_bytes: int = 0
    pinned_bytes: int = 0
    time_us: int = 0
    num_restarts: int = 0

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
GENERAL = Family(
    name="nv_trt_llm_general_metrics",
    label="general_type",
    kind="gauge",
    help="Steps of the engine, preemptions and restarts",
)
_MEMORY = Family(
    name="nv_trt_llm_runtime_memory_metrics",
    label="memory_type",
    kind="gauge",
    help="Bytes of memory of the engine's process",
)
_BATCHER = Family(
    name="nv_trt_llm_inflight_batcher_metrics",
    label="inflight_batcher_specific_metric",
    kind="gauge",
    help="What the steps of the engine hold",
)
_DISAGGREGATED = Family(
    name="nv_trt_llm_disaggregated_serving_metrics",
    label="disaggregated_serving_type",
    kind="counter",
    help="KV caches that came from another server",
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
    Metric(_MEMORY, "cpu", "resident memory of the engine's process", lambda s: s.cpu_bytes),
    Metric(_MEMORY, "gpu", "memory of the GPU, where the engine reports it", lambda s: s.gpu_bytes),
    Metric(_MEMORY, "pinned", "pinned memory, where it reports it", lambda s: s.pinned_bytes),
    Metric(
        _BATCHER,
        "total_context_tokens",
        "tokens of prompts in the last step",
        lambda s: s.num_context_tokens,
    ),
    Metric(
        _BATCHER,
        "generation_requests",
        "requests that run and whose prompt is computed",
        lambda s: s.num_running - s.num_prefilling,
    ),
    Metric(_BATCHER, "micro_batch_id", "0: a step is one batch", lambda _: 0),
    Metric(
        _BATCHER,
        "paused_requests",
        "requests that were preempted and wait to go on",
        lambda s: s.num_paused,
    ),
    Metric(GENERAL, "timestamp", "microseconds since 1970 of these numbers", lambda s: s.time_us),
    Metric(GENERAL, "iteration_counter", "steps so far", lambda s: s.num_steps),
    Metric(GENERAL, "preemption_counter", "preemptions so far", lambda s: s.num_preemptions),
    Metric(GENERAL, "restart_counter", "restarts of the server so far", lambda s: s.num_restarts),
    Metric(_DISAGGREGATED, "kv_cache_transfer_ms", "0: no cache is transferred", lambda _: 0),
    Metric(_DISAGGREGATED, "request_count", "0: no cache is transferred", lambda _: 0),
    Metric(_SPECULATION, "drafted", "draft tokens computed so far", lambda s: s.num_draft_tokens),
    Metric(
        _SPECULATION, "accepted", "draft tokens accepted so far", lambda s: s.num_accepted_tokens
    ),
)
"""In the order in which the docs list them. `reused`, preemptions and drafts are not classic."""


def markdown_table() -> str:
    """The rows for docs/contract.md."""
    rows = [
        f'| `{m.family.name}{{{m.family.label}="{m.label_value}"}}` | {m.family.kind} | {m.help} |'
        for m in METRICS
    ]
    return "\n".join(["| metric | kind | what it shows |", "|---|---|---|", *rows])
