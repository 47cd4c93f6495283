"""Prompts that begin alike over a TensorRT network: the same tokens, with less computed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import FakeCuda
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.tensorrt.cuda import Cuda, DeviceMemory, Stream
from llmasos_runtime.tensorrt.kv_slots import KVSlots, SlotCacheTensor
from llmasos_runtime.tensorrt.launch import SlotError
from made_engine import Collected, ask
from made_trt_engine import MadeGPU

COPY = "cudaMemcpy3DAsync"


def tokens(seed: int, length: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(3, 250), k=length))


HEAD = tokens(0, 36)
"""Longer than the least that is copied."""


@pytest.fixture(scope="module")
def gpu(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> MadeGPU:
    return MadeGPU(tiny_llama, tmp_path_factory.mktemp("trt"))


@pytest.fixture
def engine(gpu: MadeGPU) -> Iterator[Engine]:
    gpu.cuda.calls.clear()
    engine = gpu.engine()
    yield engine
    engine.close()
    assert gpu.cuda.live() == []


@pytest.fixture(scope="module")
def cpu(tiny_plan: Path) -> Iterator[Engine]:
    options = EngineOptions(num_threads=1, kv_cache_bytes=2**24, reuse_prefixes=False)
    engine = load_engine(tiny_plan, options)
    yield engine
    engine.close()


def start(engine: Engine, prompt: tuple[int, ...], name: str, max_tokens: int) -> Collected:
    return ask(engine, prompt, request_id=name, max_tokens=max_tokens, ignore_eos=True)


def answer(engine: Engine, prompt: tuple[int, ...], max_tokens: int) -> list[int]:
    return start(engine, prompt, "alone", max_tokens).token_ids


def num_cached(sink: Collected) -> int:
    usage = sink.last.usage
    assert usage is not None
    return usage.num_cached_tokens


def test_prompts_that_begin_alike_get_the_tokens_that_a_cpu_gives(
    gpu: MadeGPU, engine: Engine, cpu: Engine
) -> None:
    """Ten for four slots, most at once: copied from one in use, or in a free slot as it is."""
    prompts = [HEAD[: 36 - n % 3] + tokens(n + 1, 1 + n * 5 % 17) for n in range(10)]
    lengths = [27, *(3 + n * 7 % 9 for n in range(9))]
    sinks = [start(engine, prompts[0], "first", lengths[0])]
    sinks[0].wait_for_first()
    sinks += [
        start(engine, prompt, f"{n}", length)
        for n, (prompt, length) in enumerate(zip(prompts[1:], lengths[1:], strict=True))
    ]
    found = [sink.token_ids for sink in sinks]
    expected = [answer(cpu, p, length) for p, length in zip(prompts, lengths, strict=True)]
    assert found == expected
    cached = [num_cached(sink) for sink in sinks]
    assert cached[0] == 0 and min(cached[1:]) >= 34 and gpu.cuda.calls.count(COPY) >= 1
    computed = sum(record.num_prefill_tokens for record in engine.step_log())
    assert computed == sum(map(len, prompts)) - sum(cached)
    assert engine.stats().num_reused_blocks == sum(n > 0 for n in cached)


def test_without_reuse_all_is_computed_and_the_tokens_are_the_same(
    gpu: MadeGPU, engine: Engine
) -> None:
    plain = gpu.engine(reuse_prefixes=False)
    before = gpu.cuda.calls.count(COPY)
    for seed in (1, 2):
        prompt = HEAD + tokens(seed, 9)
        sink = start(plain, prompt, "a", 8)
        assert sink.token_ids == answer(engine, prompt, 8)
        assert num_cached(sink) == 0
    assert plain.stats().num_reused_blocks == 0
    plain.close()
    assert (before, gpu.cuda.calls.count(COPY)) == (0, 1), "the other engine's second prompt"


def test_what_is_copied_from_may_end_and_be_overwritten(engine: Engine, cpu: Engine) -> None:
    first = start(engine, (*HEAD, 5), "first", 25)
    first.wait_for_first()
    second = start(engine, (*HEAD, 6), "second", 25)
    second.wait_for_first()
    engine.cancel("first")
    others = [start(engine, tokens(40 + n, 50), f"{n}", 9) for n in range(5)]
    assert second.token_ids == answer(cpu, (*HEAD, 6), 25)
    assert num_cached(second) == len(HEAD)
    assert [o.token_ids for o in others] == [answer(cpu, tokens(40 + n, 50), 9) for n in range(5)]


def test_what_a_hole_holds_is_not_spoiled_by_the_steps_around_it(
    engine: Engine, cpu: Engine
) -> None:
    """Its slot is between two that decode: it computes in every step of theirs."""
    left = start(engine, tokens(50, 5), "left", 50)
    middle = start(engine, (*HEAD, 9), "middle", 2)
    right = start(engine, tokens(51, 6), "right", 50)
    assert middle.last.usage is not None
    prompt = (*HEAD, 9, 11, 12)
    again = start(engine, prompt, "again", 9)
    assert again.token_ids == answer(cpu, prompt, 9)
    assert num_cached(again) == len(HEAD) + 1
    assert left.token_ids == answer(cpu, tokens(50, 5), 50)
    assert right.token_ids == answer(cpu, tokens(51, 6), 50)


def test_a_chat_goes_on_in_its_own_slot(gpu: MadeGPU, engine: Engine, cpu: Engine) -> None:
    chat = HEAD
    for turn in range(3):
        sink = start(engine, chat, "chat", 4)
        assert num_cached(sink) == (len(chat) - 3 if turn else 0), "all but an answer's last token"
        assert sink.token_ids == answer(cpu, chat, 4)
        chat += (*sink.token_ids, 60 + turn, 61)
    assert COPY not in gpu.cuda.calls


def test_a_cancelled_prompt_can_be_asked_again(engine: Engine, cpu: Engine) -> None:
    prompt = HEAD + tokens(3, 20)
    first = start(engine, prompt, "first", 7)
    first.wait_for_first()
    engine.cancel("first")
    again = start(engine, prompt, "again", 7)
    assert again.token_ids == answer(cpu, prompt, 7)
    assert num_cached(again) == len(prompt) - 1


def test_a_copy_takes_the_first_tokens_of_every_head_and_cache_and_no_others() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    stream = Stream(cuda)
    names = ("key_cache.0", "value_cache.0", "key_cache.1")
    caches = tuple(
        SlotCacheTensor(input=name, output=name, slot_shape=(2, 32, 8), item_bytes=2)
        for name in names
    )
    kv = KVSlots(cuda, caches, num_slots=4, stream=stream)
    before = np.random.default_rng(0).integers(0, 2**16, (3, 4, 2, 32, 8), np.uint16)
    content = fake.view(kv.addresses(0)["key_cache.0"], before.nbytes).view(np.uint16)
    content[:] = before.reshape(-1)
    kv.copy(3, 1, 5, stream)
    assert (content == before.reshape(-1)).all(), "not before its turn"
    stream.synchronize()
    expected = before.copy()
    expected[:, 1, :, :5] = before[:, 3, :, :5]
    assert (content.reshape(before.shape) == expected).all()
    assert kv.addresses(2)["key_cache.1"] == kv.addresses(0)["key_cache.0"] + 2 * (2 * 4 + 2) * 512
    for source, target, count in (
        (4, 1, 5),
        (1, 4, 5),
        (-1, 1, 5),
        (2, 2, 5),
        (0, 1, 0),
        (0, 1, 33),
    ):
        with pytest.raises(SlotError, match=r"a copy (of|from)"):
            kv.copy(source, target, count, stream)
    kv.close()
    stream.close()
    assert fake.live() == []


def test_the_made_up_copy_finds_what_leaves_the_memory() -> None:
    cuda = Cuda(FakeCuda())
    memory, stream = DeviceMemory(cuda, 1000), Stream(cuda)
    fits = {"row_bytes": 100, "num_rows": 5, "source": 0, "target": 2, "size": (50, 3, 2)}
    stream.copy_rows(memory, **fits)  # type: ignore[arg-type]
    for wrong in ({"size": (101, 3, 2)}, {"size": (50, 3, 3)}, {"target": 3}, {"source": 5}):
        with pytest.raises(AssertionError, match="leaves"):
            stream.copy_rows(memory, **{**fits, **wrong})  # type: ignore[arg-type]
