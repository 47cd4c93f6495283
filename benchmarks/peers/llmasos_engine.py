"""LLMasOS in process: requests go straight into the engine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from llmasos.engine.plan import EnginePlan
from llmasos.sampling import SamplingParams
from llmasos_runtime.engine.engine import EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.sequences.request import Request, Update

from benchmarks.peers.peer import KV_CACHE_GIB, PeerSettings, Prompt, Recording, peak_resident_bytes


def load(settings: PeerSettings) -> LlmasosEngine:
    return LlmasosEngine(settings)


def native_details(plan: EnginePlan) -> str | None:
    """What a native engine computes in, whatever it is told; None for another target."""
    if plan.target != "native":
        return None
    return f"target native, computes in int8, KV cache in {plan.kv_cache_precision}"


class LlmasosEngine:
    """`settings.model` is an engine plan."""

    def __init__(self, settings: PeerSettings) -> None:
        plan = EnginePlan.read(Path(settings.model))
        self.details = native_details(plan) or settings.precisions
        options = EngineOptions(
            num_threads=settings.num_threads,
            kv_cache_bytes=KV_CACHE_GIB * 2**30,
            reuse_prefixes=False,
        )
        self._engine = load_engine(Path(settings.model), options)
        self._num_requests = 0

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        params = SamplingParams(max_tokens=num_new_tokens, ignore_eos=True, speculate=False)
        burst = _Burst(Recording(len(prompts)))
        for stream, prompt in enumerate(prompts):
            self._num_requests += 1
            request = Request(
                request_id=f"bench-{self._num_requests}",
                prompt_token_ids=prompt.token_ids,
                params=params,
            )
            self._engine.submit(request, burst.sink(stream))
        return burst.wait()

    def peak_memory_bytes(self) -> int:
        return peak_resident_bytes()

    def close(self) -> None:
        self._engine.close()


class _Burst:
    """Collects the updates of requests that were submitted together."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._num_open = len(recording.times_s)
        self._errors: list[Exception] = []
        self._done = threading.Event()

    def sink(self, stream: int):
        def receive(update: Update) -> None:
            self._recording.add(stream, update.token_ids)
            if update.error is not None:
                self._errors.append(update.error)
            if update.is_final:
                self._num_open -= 1
            if self._num_open == 0:
                self._done.set()

        return receive

    def wait(self) -> Recording:
        self._done.wait()
        if self._errors:
            raise self._errors[0]
        return self._recording
