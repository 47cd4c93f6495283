"""The interface of the package tensorrt_llm 1.x, as far as it is used, over a model that counts.

Names, signatures and manners are the real one's: `generate_async` must be called where an event
loop runs, results come from another thread, a result is its own asynchronous iterator and has
all tokens so far, a stop token is cut off unless it is to be included, and an aborted request
may never say anything again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from patience import PATIENCE_S

VOCAB_SIZE = 400


class RequestError(RuntimeError):
    pass


@dataclass(kw_only=True)
class KvCacheConfig:
    enable_block_reuse: bool = True
    max_tokens: int | None = None
    free_gpu_memory_fraction: float | None = 0.9
    tokens_per_block: int = 32


@dataclass(slots=True, kw_only=True)
class SamplingParams:
    end_id: int | None = None
    pad_id: int | None = None
    max_tokens: int = 32
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    n: int = 1
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    temperature: float | None = None
    min_tokens: int | None = None
    min_p: float | None = None
    ignore_eos: bool = False
    detokenize: bool = True


@dataclass
class CompletionOutput:
    token_ids: list[int] = field(default_factory=list[int])
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class RequestOutput:
    """What generate_async returns, and what its iteration yields again and again."""

    def __init__(self, llm: LLM, prompt: list[int], params: SamplingParams) -> None:
        self.outputs = [CompletionOutput()]
        self.cached_tokens = llm.cached_tokens
        self.finished = False
        self.is_aborted = False
        self.params = params
        self.queue: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.last = prompt[-1]

    def abort(self) -> None:
        self.is_aborted = True

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        (await self.queue.get())()
        return self


class LLM:
    """Says after token n the token n + 1, all requests together, `tokens_per_step` at a time.

    pause: its thread waits until hold is set. pauses_after_a_token: it does so by itself after
    each step that gave one. fails_with: what every request is answered with.
    """

    def __init__(
        self,
        model: str,
        tokenizer: object = None,
        skip_tokenizer_init: bool = False,
        dtype: str = "auto",
        **kwargs: Any,
    ) -> None:
        known = {
            *("max_batch_size", "max_num_tokens", "max_seq_len", "kv_cache_config"),
            *("enable_chunked_prefill", "enable_iter_perf_stats"),
        }
        for name in kwargs:
            if name not in known:
                raise ValueError(f"LLM got invalid argument: {name}")
        self.model = model
        self.skip_tokenizer_init = skip_tokenizer_init
        self.kwargs = kwargs
        self.results: list[RequestOutput] = []
        self.hold = threading.Event()
        self.hold.set()
        self.is_held = threading.Event()
        self.pauses_after_a_token = False
        self.fails_with: Exception | None = None
        self.fails_at: int | None = None
        self.refuses: Exception | None = None
        self.tokens_per_step = 1
        self.cuts_end = False
        self.gives_up: str | None = None
        self.cached_tokens = 0
        self.num_vain_reports = 0
        self.num_steps = 0
        self.is_shut_down = False
        self.has_been_asked = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        LLMS.append(self)

    def generate_async(
        self,
        inputs: list[int],
        sampling_params: SamplingParams | None = None,
        lora_request: object = None,
        streaming: bool = False,
    ) -> RequestOutput:
        if self.is_shut_down:
            raise RuntimeError("LLM is shutting down")
        if self.refuses is not None:
            raise self.refuses
        assert sampling_params is not None and sampling_params.end_id is not None
        assert streaming and self.skip_tokenizer_init and not sampling_params.stop
        result = RequestOutput(self, inputs, sampling_params)
        self.has_been_asked = True
        self.results.append(result)
        return result

    def get_stats_async(self, timeout: float | None = 2) -> Stats:
        self.num_vain_reports += not self.has_been_asked  # the real one prints a line
        return Stats(self)

    def shutdown(self) -> None:
        self.is_shut_down = True
        self.hold.set()
        self._thread.join()

    def pause(self) -> None:
        """No step begins from now on until `hold` is set, and none is under way."""
        self.hold.clear()
        assert self.is_held.wait(PATIENCE_S)

    def _work(self) -> None:
        while not self.is_shut_down:
            if not self.hold.is_set():
                self.is_held.set()
                self.hold.wait()
                self.is_held.clear()
            threading.Event().wait(0.001)
            self.num_steps += 1
            for result in list(self.results):
                if result.is_aborted:
                    self.results.remove(result)
                else:
                    if self.pauses_after_a_token:
                        self.hold.clear()
                    result.loop.call_soon_threadsafe(result.queue.put_nowait, self._step(result))

    def _step(self, result: RequestOutput) -> Callable[[], None]:
        tokens: list[int] = []
        if self.num_steps == self.fails_at and self.fails_with is not None:
            return self._raiser(result, self.fails_with)
        for _ in range(self.tokens_per_step):
            result.last = (result.last + 1) % VOCAB_SIZE
            tokens.append(result.last)
        return lambda: self._deliver(result, tokens)

    def _raiser(self, result: RequestOutput, error: Exception) -> Callable[[], None]:
        self.results.remove(result)

        def fail() -> None:
            raise error

        return fail

    def _deliver(self, result: RequestOutput, tokens: list[int]) -> None:
        completion, params = result.outputs[0], result.params
        if self.gives_up is not None:
            completion.finish_reason = self.gives_up
        for token in tokens:
            if completion.finish_reason is not None:
                break
            completion.token_ids.append(token)
            is_early = len(completion.token_ids) < (params.min_tokens or 0)
            if token == params.end_id and not is_early:
                completion.finish_reason = "stop"
                if self.cuts_end:
                    completion.token_ids.pop()
            elif token in (params.stop_token_ids or ()) and not params.ignore_eos:
                completion.finish_reason, completion.stop_reason = "stop", token
                if not params.include_stop_str_in_output or self.cuts_end:
                    completion.token_ids.pop()
            elif len(completion.token_ids) >= params.max_tokens:
                completion.finish_reason = "length"
        result.finished = completion.finish_reason is not None
        if result.finished and result in self.results:
            self.results.remove(result)


class Stats:
    """An asynchronous iterator that ends when nothing is new."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._left = 1

    def __aiter__(self) -> Stats:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        cache = {"maxNumBlocks": 100, "freeNumBlocks": 60, "usedNumBlocks": 40, "reusedBlocks": 7}
        return {"iter": self._llm.num_steps, "numActiveRequests": 1, "kvCacheStats": cache}


LLMS: list[LLM] = []
"""Every one that was made, the newest last."""


def module(version: str = "1.3.0") -> Any:
    """What `import tensorrt_llm` gives."""
    made: Any = ModuleType("tensorrt_llm")
    made.__version__ = version
    made.LLM, made.SamplingParams = LLM, SamplingParams
    made.llmapi = ModuleType("tensorrt_llm.llmapi")
    made.llmapi.KvCacheConfig, made.llmapi.RequestError = KvCacheConfig, RequestError
    return made
