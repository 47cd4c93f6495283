"""OpenVINO GenAI's ContinuousBatchingPipeline on the IR file of the plan, stepped by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
import openvino_genai

from benchmarks.peers.peer import KV_CACHE_GIB, PeerSettings, Prompt, Recording, peak_resident_bytes

# GenAI wants an end token even when told to ignore it; any id will do.
END_TOKEN_ID = 2


def load(settings: PeerSettings) -> OpenVinoGenAi:
    return OpenVinoGenAi(settings)


class OpenVinoGenAi:
    """`settings.model` is a directory that holds openvino_model.xml and .bin and nothing else."""

    def __init__(self, settings: PeerSettings) -> None:
        self.details = settings.precisions
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = KV_CACHE_GIB
        scheduler.max_num_seqs = settings.max_streams
        scheduler.max_num_batched_tokens = settings.max_num_tokens
        scheduler.dynamic_split_fuse = True
        scheduler.enable_prefix_caching = False
        properties = {
            "INFERENCE_NUM_THREADS": settings.num_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": settings.precision_hint,
            "KV_CACHE_PRECISION": settings.kv_cache_precision,
        }
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            settings.model, scheduler, "CPU", properties
        )
        self._num_requests = 0

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = num_new_tokens
        config.ignore_eos = True
        config.do_sample = False
        config.set_eos_token_id(END_TOKEN_ID)
        recording = Recording(len(prompts))
        handles = [self._add(prompt, config) for prompt in prompts]
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
            for stream, handle in enumerate(handles):
                if handle.can_read():
                    for output in handle.read().values():
                        recording.add(stream, output.generated_ids)
        return recording

    def _add(self, prompt: Prompt, config: openvino_genai.GenerationConfig) -> Any:
        """Submit one prompt; the handle tells of its tokens."""
        self._num_requests += 1
        ids = openvino.Tensor(np.array([prompt.token_ids], dtype=np.int64))
        return self._pipeline.add_request(self._num_requests, ids, config)

    def peak_memory_bytes(self) -> int:
        return peak_resident_bytes()

    def close(self) -> None:
        del self._pipeline
