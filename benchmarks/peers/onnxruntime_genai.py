"""ONNX Runtime GenAI on the ONNX model that its own model builder makes.

Its Generator runs a fixed batch from start to end. All prompts of a run have the same
length, so nothing is padded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import onnxruntime_genai

from benchmarks.peers.peer import PeerSettings, Prompt, Recording, peak_resident_bytes


def load(settings: PeerSettings) -> OnnxRuntimeGenAi:
    return OnnxRuntimeGenAi(settings)


class OnnxRuntimeGenAi:
    """`settings.model` is a directory that holds genai_config.json and model.onnx."""

    def __init__(self, settings: PeerSettings) -> None:
        self.details = "computes in f32 with int8 activations, KV cache in f32"
        config = onnxruntime_genai.Config(settings.model)
        session = {"intra_op_num_threads": settings.num_threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        self._model = onnxruntime_genai.Model(config)

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        recording = Recording(len(prompts))
        generator = self._generator(prompts, num_new_tokens)
        for _ in range(num_new_tokens):
            generator.generate_next_token()
            for stream, token_id in enumerate(generator.get_next_tokens()):
                recording.add(stream, [token_id])
        return recording

    def _generator(
        self, prompts: Sequence[Prompt], num_new_tokens: int
    ) -> onnxruntime_genai.Generator:
        length = len(prompts[0].token_ids) + num_new_tokens
        params = onnxruntime_genai.GeneratorParams(self._model)
        # A min_length of the whole length keeps end tokens from being chosen: there is no
        # other way to go on past one.
        params.set_search_options(
            max_length=length, min_length=length, do_sample=False, batch_size=len(prompts)
        )
        generator = onnxruntime_genai.Generator(self._model, params)
        generator.append_tokens(np.array([p.token_ids for p in prompts], dtype=np.int32))
        return generator

    def peak_memory_bytes(self) -> int:
        return peak_resident_bytes()

    def close(self) -> None:
        del self._model
