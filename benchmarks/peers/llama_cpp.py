"""llama.cpp through the C interface of llama-cpp-python: one llama_batch over all streams.

The high-level class of that package runs one sequence at a time, so this drives
`llama_decode` itself, as llama.cpp's own `batched` example does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import llama_cpp
import numpy as np

from benchmarks.peers.peer import PeerSettings, Prompt, Recording, peak_resident_bytes

# Names and values of `enum ggml_type` in ggml.h.
CACHE_TYPES = {"u8": ("Q8_0", 8), "bf16": ("BF16", 30), "f32": ("F32", 0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchToken:
    """One token of a batch; only a sampled one gets logits."""

    token_id: int
    position: int
    stream: int
    sampled: bool


def load(settings: PeerSettings) -> LlamaCpp:
    return LlamaCpp(settings)


@llama_cpp.llama_log_callback
def _discard_log(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    del level, text, user_data


class LlamaCpp:
    """`settings.model` is a GGUF file."""

    def __init__(self, settings: PeerSettings) -> None:
        cache_type, _ = CACHE_TYPES[settings.kv_cache_precision]
        self.details = f"quantizes activations to Q8_0, KV cache in {cache_type}"
        llama_cpp.llama_log_set(_discard_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            settings.model.encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {settings.model}")
        self._context = llama_cpp.llama_init_from_model(self._model, _context_params(settings))
        if not self._context:
            raise RuntimeError("llama.cpp cannot make a context")
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._max_num_tokens = settings.max_num_tokens
        self._batch = llama_cpp.llama_batch_init(settings.max_num_tokens, 0, 1)

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        recording = Recording(len(prompts))
        llama_cpp.llama_memory_clear(self._memory, False)
        for tokens in _prefill_batches(prompts, self._max_num_tokens):
            self._decode(tokens, recording)
        for step in range(1, num_new_tokens):
            tokens = [
                BatchToken(
                    token_id=recording.token_ids[stream][-1],
                    position=len(prompt.token_ids) + step - 1,
                    stream=stream,
                    sampled=True,
                )
                for stream, prompt in enumerate(prompts)
            ]
            self._decode(tokens, recording)
        return recording

    def _decode(self, tokens: Sequence[BatchToken], recording: Recording) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token.token_id
            batch.pos[index] = token.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = token.stream
            batch.logits[index] = token.sampled
        status = llama_cpp.llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
        for index, token in enumerate(tokens):
            if token.sampled:
                recording.add(token.stream, [self._most_likely(index)])

    def _most_likely(self, index: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, index)
        return int(np.ctypeslib.as_array(logits, shape=(self._vocab_size,)).argmax())

    def peak_memory_bytes(self) -> int:
        return peak_resident_bytes()

    def close(self) -> None:
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)


def _context_params(settings: PeerSettings) -> llama_cpp.llama_context_params:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = settings.max_streams * settings.max_seq_len
    params.n_batch = settings.max_num_tokens
    params.n_ubatch = 512
    params.n_seq_max = settings.max_streams
    params.n_threads = params.n_threads_batch = settings.num_threads
    params.type_k = params.type_v = CACHE_TYPES[settings.kv_cache_precision][1]
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.kv_unified = True
    params.no_perf = True
    return params


def _prefill_batches(prompts: Sequence[Prompt], max_num_tokens: int) -> list[list[BatchToken]]:
    """Whole prompts, as many in each batch as fit."""
    batches: list[list[BatchToken]] = [[]]
    for stream, prompt in enumerate(prompts):
        last = len(prompt.token_ids) - 1
        tokens = [
            BatchToken(token_id=token_id, position=at, stream=stream, sampled=at == last)
            for at, token_id in enumerate(prompt.token_ids)
        ]
        if len(batches[-1]) + len(tokens) > max_num_tokens:
            batches.append([])
        batches[-1].extend(tokens)
    return batches
