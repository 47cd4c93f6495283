"""LLMasOS behind a real Triton server: this process is the client, the server is its child.

Each stream is read by a thread of its own through the product's TritonClient. The server
runs with the same number of threads as any other peer; what the client takes comes on
top and is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from llmasos import SamplingParams, TritonClient
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.engine.plan import EnginePlan
from llmasos_serving.triton.launcher import ServerOptions, TritonServer

from benchmarks.peers.llmasos_engine import native_details
from benchmarks.peers.peer import KV_CACHE_GIB, PeerSettings, Prompt, Recording, peak_resident_bytes


def load(settings: PeerSettings) -> LlmasosTriton:
    return LlmasosTriton(settings)


class LlmasosTriton:
    """`settings.model` is a Triton model repository."""

    def __init__(self, settings: PeerSettings) -> None:
        plan = EnginePlan.read(Path(settings.model) / PLAN_IN_REPOSITORY)
        self.details = native_details(plan) or settings.precisions
        options = ServerOptions(
            grpc_port=0,
            http_port=0,
            metrics_port=0,
            num_threads=settings.num_threads,
            kv_cache_bytes=KV_CACHE_GIB * 2**30,
            enable_kv_cache_reuse=False,
        )
        self._server = TritonServer(Path(settings.model), options)
        self._server.start()
        self._client = TritonClient(self._server.grpc_url)
        self._pool = ThreadPoolExecutor(settings.max_streams)

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        params = SamplingParams(max_tokens=num_new_tokens, ignore_eos=True, speculate=False)
        recording = Recording(len(prompts))

        def read(stream: int, text: str) -> None:
            for piece in self._client.stream(text, params):
                recording.add(stream, piece.token_ids)

        texts = [prompt.text for prompt in prompts]
        for _ in self._pool.map(read, range(len(texts)), texts):
            pass
        return recording

    def peak_memory_bytes(self) -> int:
        """Of the server's processes, added up; the client is not counted."""
        children = psutil.Process().children(recursive=True)
        return sum(peak_resident_bytes(child.pid) for child in children)

    def close(self) -> None:
        self._pool.shutdown()
        self._client.close()
        self._server.stop()
