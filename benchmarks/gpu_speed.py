"""How fast an engine decodes and reads prompts, and how much of a GPU's bandwidth that is."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from llmasos.errors import LLMasOSError
from llmasos.sampling import SamplingParams
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.sequences.request import Request, Update
from llmasos_runtime.tensorrt.cuda import Cuda, DeviceMemory, Stream

from benchmarks.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """tokens_per_s: of all sequences. steps_per_s: None for what is not one step a token."""

    name: str
    tokens_per_s: float
    steps_per_s: float | None


class _Clock:
    """A sink for the updates of many requests; times of every token, by request."""

    def __init__(self, count: int) -> None:
        self.times: list[list[float]] = [[] for _ in range(count)]
        self._done = [threading.Event() for _ in range(count)]
        self._errors: list[LLMasOSError] = []

    def __call__(self, update: Update) -> None:
        number, now = int(update.request_id), time.perf_counter()
        self.times[number] += [now] * len(update.token_ids)
        if update.error is not None:
            self._errors.append(update.error)
        if update.is_final:
            self._done[number].set()

    def wait(self) -> None:
        for event in self._done:
            event.wait()
        if self._errors:
            raise self._errors[0]


def _timed(
    engine: Engine, prompts: Sequence[tuple[int, ...]], num_tokens: int
) -> tuple[float, _Clock]:
    """When the prompts were submitted, and when their tokens came."""
    clock = _Clock(len(prompts))
    params = SamplingParams(max_tokens=num_tokens, ignore_eos=True)
    began = time.perf_counter()
    for number, prompt in enumerate(prompts):
        request = Request(request_id=str(number), prompt_token_ids=prompt, params=params)
        engine.submit(request, clock)
    clock.wait()
    return began, clock


def decode_speed(
    engine: Engine, prompts: Sequence[tuple[int, ...]], num_tokens: int, *, rounds: int = 3
) -> Speed:
    """The best of some rounds, between the last sequence's first token and the first's last:
    while all of them decode. The rounds before it also capture graphs and compile kernels.
    """
    count, best = len(prompts), 0.0
    for _ in range(rounds):
        _, clock = _timed(engine, prompts, num_tokens)
        begin = max(times[0] for times in clock.times)
        end = min(times[-1] for times in clock.times)
        tokens = sum(begin < moment <= end for times in clock.times for moment in times)
        if end > begin:
            best = max(best, tokens / (end - begin))
    return Speed(name=f"decode, {count} at once", tokens_per_s=best, steps_per_s=best / count)


def prefill_speed(engine: Engine, prompts: Sequence[tuple[int, ...]], *, rounds: int = 3) -> Speed:
    """Tokens of prompts, one after the other, until each has its first token."""
    best = 0.0
    for _ in range(rounds):
        durations = 0.0
        for prompt in prompts:
            began, clock = _timed(engine, [prompt], 1)
            durations += clock.times[0][0] - began
        best = max(best, sum(map(len, prompts)) / durations)
    return Speed(name=f"prefill of {len(prompts[0])}", tokens_per_s=best, steps_per_s=None)


def memory_bandwidth(cuda: Cuda, *, num_bytes: int = 1 << 28, copies: int = 20) -> float:
    """Bytes read and written per second by copies inside the GPU's memory."""
    kind = cuda.library.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    source, target = DeviceMemory(cuda, num_bytes), DeviceMemory(cuda, num_bytes)
    stream = Stream(cuda)
    best = 0.0
    for _ in range(3):
        stream.synchronize()
        began = time.perf_counter()
        for _ in range(copies):
            arguments = (target.address, source.address, num_bytes, kind, stream.handle)
            cuda.call("cudaMemcpyAsync", *arguments)
        stream.synchronize()
        best = max(best, 2 * num_bytes * copies / (time.perf_counter() - began))
    for owned in (source, target, stream):
        owned.close()
    return best


def speed_table(
    title: str, speeds: Sequence[Speed], *, weight_bytes: int, bandwidth: float
) -> Table:
    """A step reads the weights once: its share of the bandwidth is how well it does that."""
    rows: list[tuple[str, ...]] = []
    for speed in speeds:
        steps, share = "-", "-"
        if speed.steps_per_s is not None:
            steps = f"{speed.steps_per_s:,.1f}"
            share = f"{weight_bytes * speed.steps_per_s / bandwidth:.1%}"
        rows.append((speed.name, f"{speed.tokens_per_s:,.0f}", steps, share))
    header = ("what", "tokens/s", "steps/s", "weights read, of the bandwidth")
    return Table(title=title, header=header, rows=tuple(rows))
