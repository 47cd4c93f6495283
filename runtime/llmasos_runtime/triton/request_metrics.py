"""How long requests took and how they ended, as histograms and counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from llmasos.outputs import FinishReason

from llmasos_runtime.sequences.request import Update
from llmasos_runtime.triton.backend import Backend
from llmasos_runtime.triton.shown_metrics import Counter, Histogram

_LENGTHS = (10, 50, 100, 500, 1000)
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)
_SECONDS_OF_A_TOKEN = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
_ERROR = "error"


class RequestMetrics:
    """Follows requests from `begin` to their last update; any thread may call it.

    clock: seconds.
    """

    def __init__(
        self,
        backend: Backend,
        labels: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._first: dict[str, float] = {}
        self._inputs, self._outputs = (
            Histogram(
                backend,
                f"nv_llm_{kind}_token_len",
                f"Tokens of an {kind}",
                buckets=_LENGTHS,
                labels={**labels, "response_metric_type": f"total_{kind}_tokens"},
            )
            for kind in ("input", "output")
        )
        self._ttft, self._latency, self._per_token = (
            Histogram(backend, f"nv_llmasos_{name}_seconds", said, buckets=buckets, labels=labels)
            for name, said, buckets in (
                ("time_to_first_token", "From a request to its first token", _SECONDS),
                ("request_latency", "From a request to its last token", _SECONDS),
                (
                    "time_per_output_token",
                    "From one token of an answer to the next, on average",
                    _SECONDS_OF_A_TOKEN,
                ),
            )
        )
        kinds = backend.MetricFamily
        self._family = kinds(
            name="nv_llmasos_requests",
            description="Answers by how they ended",
            kind=kinds.COUNTER,
        )
        self._counts = dict.fromkeys([*(r.value for r in FinishReason), _ERROR], 0)
        self._ended = {
            reason: Counter(self._family.Metric(labels={**labels, "finish_reason": reason}))
            for reason in self._counts
        }

    def begin(self, request_id: str) -> None:
        self._begun[request_id] = self._clock()

    def count(self, updates: Iterable[Update]) -> None:
        """updates: of one request."""
        for update in updates:
            begun = self._begun.get(update.request_id)
            if begun is None:
                continue
            if update.token_ids and update.request_id not in self._first:
                self._first[update.request_id] = self._clock()
                self._ttft.add(self._first[update.request_id] - begun)
            if update.is_final:
                self._end(update, begun)
            if update.is_last:
                del self._begun[update.request_id]
                self._first.pop(update.request_id, None)

    def show(self) -> None:
        """Brings the numbers onto Triton's page."""
        shown = (self._inputs, self._outputs, self._ttft, self._latency, self._per_token)
        for histogram in shown:
            histogram.show()
        for reason, counter in self._ended.items():
            counter.show(self._counts[reason])

    def _end(self, update: Update, begun: float) -> None:
        reason = _ERROR if update.finish_reason is None else update.finish_reason.value
        self._counts[reason] += 1
        usage, now = update.usage, self._clock()
        if usage is None:
            return
        self._inputs.add(usage.num_prompt_tokens)
        self._outputs.add(usage.num_output_tokens)
        self._latency.add(now - begun)
        first = self._first.get(update.request_id)
        if first is not None and usage.num_output_tokens > 1:
            self._per_token.add((now - first) / (usage.num_output_tokens - 1))
