"""Hugging Face `generate`: PyTorch on the dequantized weights, a fixed batch.

All prompts of a run have the same length, so nothing is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer

from benchmarks.peers.peer import PeerSettings, Prompt, Recording, peak_resident_bytes

# With these instructions PyTorch's bf16 matrix products are faster than its f32 ones.
BF16_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


def load(settings: PeerSettings) -> HuggingFace:
    return HuggingFace(settings)


class HuggingFace:
    """`settings.model` is a directory that holds config.json and model.safetensors."""

    def __init__(self, settings: PeerSettings) -> None:
        torch.set_num_threads(settings.num_threads)
        dtype = torch.bfloat16 if _cpu_flags() & BF16_CPU_FLAGS else torch.float32
        self.details = f"computes and keeps its KV cache in {dtype}".replace("torch.", "")
        self._model = AutoModelForCausalLM.from_pretrained(settings.model, dtype=dtype)

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        recording = Recording(len(prompts))
        input_ids = torch.tensor([prompt.token_ids for prompt in prompts])
        self._model.generation_config.eos_token_id = None
        with torch.inference_mode():
            self._model.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                max_new_tokens=num_new_tokens,
                do_sample=False,
                pad_token_id=0,
                streamer=_Recorder(recording),
            )
        return recording

    def peak_memory_bytes(self) -> int:
        return peak_resident_bytes()

    def close(self) -> None:
        del self._model


class _Recorder(BaseStreamer):
    """Given the prompts first, then the new token of every stream after each step."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._has_prompts = False

    def put(self, value: torch.Tensor) -> None:
        if not self._has_prompts:
            self._has_prompts = True
            return
        for stream, token_id in enumerate(value.tolist()):
            self._recording.add(stream, [token_id])

    def end(self) -> None:
        pass


def _cpu_flags() -> frozenset[str]:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return frozenset(line.split())
    return frozenset()
