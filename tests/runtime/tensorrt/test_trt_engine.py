"""The whole engine over a TensorRT network, with a GPU that is made up of numpy and ctypes."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import EngineStoppedError, InvalidRequestError, PlanError, UnsupportedFieldError
from llmasos.outputs import FinishReason
from llmasos.sampling import SamplingParams
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.sequences.request import Request
from llmasos_runtime.tensorrt.packing import Packer
from made_engine import Collected, ask
from made_trt_engine import MadeGPU


@pytest.fixture(scope="module")
def gpu(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> MadeGPU:
    return MadeGPU(tiny_llama, tmp_path_factory.mktemp("trt"))


@pytest.fixture
def engine(gpu: MadeGPU) -> Iterator[Engine]:
    engine = gpu.engine()
    yield engine
    engine.close()
    assert gpu.cuda.live() == []


@pytest.fixture(scope="module")
def cpu(tiny_plan: Path) -> Iterator[Engine]:
    engine = load_engine(tiny_plan, EngineOptions(num_threads=1, kv_cache_bytes=2**24))
    yield engine
    engine.close()


def prompt(seed: int, length: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(256), k=length))


PROMPTS = {f"{n}": prompt(n, length) for n, length in enumerate((3, 17, 1, 35, 8, 50, 2, 21))}
LENGTHS = {"0": 9, "1": 4, "2": 14, "3": 6, "4": 3, "5": 12, "6": 1, "7": 16}


def run(engine: Engine, names: Any = PROMPTS, **params: Any) -> dict[str, list[int]]:
    """Tokens of prompts that are all asked at once; more than there are slots."""
    sinks = {
        name: ask(
            engine,
            PROMPTS[name],
            request_id=name,
            max_tokens=LENGTHS[name],
            ignore_eos=True,
            **params,
        )
        for name in names
    }
    return {name: sink.token_ids for name, sink in sinks.items()}


def test_sequences_that_join_and_leave_get_the_tokens_that_a_cpu_gives(
    engine: Engine, cpu: Engine
) -> None:
    """Eight requests for four slots: they end at different times, also between others."""
    together = run(engine)
    assert {name: len(tokens) for name, tokens in together.items()} == LENGTHS
    assert together == run(cpu)
    assert len({token for tokens in together.values() for token in tokens}) > 20
    records = engine.step_log()
    assert any(r.num_decode_tokens and r.num_prefill_tokens for r in records), "never mixed"


def test_each_alone_gets_the_same_tokens(engine: Engine) -> None:
    together = run(engine)
    for name in PROMPTS:
        assert run(engine, [name])[name] == together[name]


@pytest.mark.parametrize("max_num_tokens", [7, 16, 24])
def test_prompts_in_chunks_give_the_same_tokens(
    gpu: MadeGPU, cpu: Engine, max_num_tokens: int
) -> None:
    """Some chunks are one token long, some longer than the engine's prefill."""
    engine = gpu.engine(max_num_tokens=max_num_tokens)
    tokens = run(engine)
    engine.close()
    assert tokens == run(cpu)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.8, "top_k": 10},
        {"temperature": 1.0, "top_p": 0.3},
        {"temperature": 0.5, "min_p": 0.3},
    ],
)
def test_draws_from_candidates_are_those_from_all_logits(
    engine: Engine, cpu: Engine, params: dict[str, Any]
) -> None:
    assert run(engine, seed=11, **params) == run(cpu, seed=11, **params)


def test_full_logits_are_fetched_for_what_may_leave_the_candidates(
    tiny_llama: Path, tmp_path: Path, cpu: Engine
) -> None:
    whole = MadeGPU(tiny_llama, tmp_path / "full", full_logits=True, num_candidates=4)
    engine = whole.engine()
    for params in ({"temperature": 2.0}, {"temperature": 1.0, "top_k": 100}):
        assert run(engine, seed=5, **params) == run(cpu, seed=5, **params)
    engine.close()
    assert whole.cuda.live() == []


PENALTIES: dict[str, Any] = {"repetition_penalty": 1.3, "frequency_penalty": 0.5}


def test_penalties_need_all_logits(
    tiny_llama: Path, tmp_path: Path, cpu: Engine, engine: Engine
) -> None:
    whole = MadeGPU(tiny_llama, tmp_path / "full", full_logits=True, num_candidates=4)
    able = whole.engine()
    assert run(able, **PENALTIES) == run(cpu, **PENALTIES) != run(cpu)
    able.close()
    message = "repetition_penalty is not supported by an engine .* got 1.3; build it with"
    with pytest.raises(UnsupportedFieldError, match=message):
        ask(engine, **PENALTIES)


def logprobs(sink: Collected) -> list[tuple[int, list[int], list[float]]]:
    """The answers one after the other: token, likeliest tokens, and log probabilities."""
    told = sorted(sink.updates, key=lambda update: update.index or 0)
    return [
        (p.token_id, [t for t, _ in p.top_logprobs], [p.logprob, *(q for _, q in p.top_logprobs)])
        for update in told
        for p in update.logprobs
    ]


@pytest.mark.parametrize("full_logits", [False, True])
@pytest.mark.parametrize("count", [0, 4])
def test_log_probabilities_of_several_answers_are_those_of_a_cpu(
    tiny_llama: Path, tmp_path: Path, cpu: Engine, *, full_logits: bool, count: int
) -> None:
    candidates: dict[str, Any] = {"num_candidates": 4} if full_logits else {}
    gpu = MadeGPU(tiny_llama, tmp_path / "gpu", full_logits=full_logits, **candidates)
    engine = gpu.engine()
    asked: dict[str, Any] = {"temperature": 1.2, "seed": 5, "top_k": 4, "n": 2, "logprobs": count}
    asked |= {"max_tokens": 6, "ignore_eos": True, "top_p_decay": 0.9, "top_p": 0.99}
    ours, theirs = (logprobs(ask(one, PROMPTS["3"], **asked)) for one in (engine, cpu))
    assert [one[:2] for one in ours] == [one[:2] for one in theirs]
    for (_, _, mine), (_, _, other) in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, abs=1e-3)
    assert len(ours) == 12
    engine.close()
    assert gpu.cuda.live() == []


def test_more_log_probabilities_than_candidates_and_drafts_are_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequestError, match="logprobs must be at most 16, the candidates"):
        ask(engine, logprobs=17)
    request = Request(
        request_id="a",
        prompt_token_ids=(5, 6),
        params=SamplingParams(),
        draft_token_ids=(7,),
    )
    with pytest.raises(UnsupportedFieldError, match="draft_input_ids is not supported"):
        engine.submit(request, Collected())
    wants = dataclasses.replace(request, draft_token_ids=(), wants_logits=True)
    with pytest.raises(UnsupportedFieldError, match="return_generation_logits is not supported"):
        engine.submit(wants, Collected())


def test_a_top_k_beyond_the_candidates_is_refused_at_once(engine: Engine) -> None:
    with pytest.raises(InvalidRequestError, match=r"top_k must be at most 16, .* got 17;"):
        ask(engine, top_k=17)
    assert ask(engine, top_k=16, temperature=1.0).last.finish_reason is not None


def test_a_sequence_may_fill_its_slot_to_the_end(engine: Engine, cpu: Engine, gpu: MadeGPU) -> None:
    """The last token is never computed, so max_seq_len - 1 of them are written."""
    longest = prompt(9, 60)
    beside = ask(engine, prompt(10, 5), request_id="beside", max_tokens=20, ignore_eos=True)
    full = ask(engine, longest, request_id="full", max_tokens=50, ignore_eos=True)
    expected = ask(cpu, longest, request_id="full", max_tokens=4, ignore_eos=True)
    assert full.token_ids == expected.token_ids and len(full.token_ids) == 4
    assert len(beside.token_ids) == 20


def test_a_cancelled_sequence_gives_its_slot_to_the_next(engine: Engine, cpu: Engine) -> None:
    names = ["0", "1", "2", "5", "7"]
    sinks = {
        name: ask(engine, PROMPTS[name], request_id=name, max_tokens=14, ignore_eos=True)
        for name in names
    }
    sinks["1"].wait_for_first()
    engine.cancel("1")
    assert sinks["1"].last.finish_reason in (FinishReason.ABORT, FinishReason.LENGTH)
    for name in ("0", "2", "5", "7"):
        alone = ask(cpu, PROMPTS[name], request_id=name, max_tokens=14, ignore_eos=True)
        assert sinks[name].token_ids == alone.token_ids


def test_what_comes_when_no_slot_is_free_waits(gpu: MadeGPU, cpu: Engine) -> None:
    engine = gpu.engine(max_batch_size=1)
    assert engine.stats().num_blocks == 1
    tokens = run(engine)
    engine.close()
    assert tokens == run(cpu)


def test_a_slot_is_as_large_as_the_memory_that_it_takes(gpu: MadeGPU) -> None:
    slot = 2 * 2 * 2 * 64 * 16 * 4  # keys and values, layers, heads, tokens, size, f32
    engine = gpu.engine(kv_cache_bytes=3 * slot - 1)
    assert engine.stats().num_blocks == 2
    engine.close()
    with pytest.raises(
        PlanError,
        match=f"kv_cache_bytes is {slot - 1} bytes; one sequence of max_seq_len 64 needs {slot}",
    ):
        gpu.engine(kv_cache_bytes=slot - 1)
    assert gpu.cuda.live() == []


def test_a_gpu_without_memory_is_a_plan_error_and_leaks_nothing(gpu: MadeGPU) -> None:
    total = gpu.cuda.total_bytes
    try:
        for total_bytes in (100, 5000, 40_000, 150_000):
            gpu.cuda.total_bytes = total_bytes
            with pytest.raises(PlanError, match=r"cudaErrorMemoryAllocation|free GPU memory"):
                gpu.engine()
            assert gpu.cuda.live() == []
    finally:
        gpu.cuda.total_bytes = total


def test_closing_in_the_middle_frees_everything_and_ends_every_request(gpu: MadeGPU) -> None:
    engine = gpu.engine()
    sinks = [
        ask(engine, p, request_id=n, max_tokens=50, ignore_eos=True) for n, p in PROMPTS.items()
    ]
    sinks[0].wait_for_first()
    engine.close()
    assert gpu.cuda.live() == []
    for sink in sinks:
        assert sink.last.finish_reason is not None or isinstance(sink.error, EngineStoppedError)


def test_an_engine_file_that_is_not_one_is_refused_in_tensorrts_words(
    tiny_llama: Path, tmp_path: Path
) -> None:
    broken = MadeGPU(tiny_llama, tmp_path)
    (tmp_path / "engine.trt").write_bytes(b"nonsense")
    with pytest.raises(PlanError, match=r"engine.trt cannot be loaded: the magic tag"):
        broken.engine()
    assert broken.cuda.live() == []


def test_a_row_that_would_leave_its_slot_stops_the_engine(
    gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pack = Packer.pack

    def too_far(self: Packer, step: Any) -> Any:
        packed = pack(self, step)
        packed.launches[0].kv_write_index[:] += 60
        packed.launches[0].position_ids[:] += 60
        return packed

    engine = gpu.engine()
    first = run(engine, ["0"])["0"]
    monkeypatch.setattr(Packer, "pack", too_far)
    failed = ask(engine, PROMPTS["1"], max_tokens=5)
    assert "end at" in str(failed.error) and "of a slot of 64" in str(failed.error)
    engine.close()
    assert len(first) == LENGTHS["0"]


def test_a_failure_of_the_gpu_ends_every_request_in_cudas_words(gpu: MadeGPU) -> None:
    engine = gpu.engine()
    gpu.cuda.fails["cudaEventSynchronize"] = gpu.cuda.cudaError_t.cudaErrorIllegalAddress
    try:
        sinks = [ask(engine, PROMPTS[name], request_id=name, max_tokens=5) for name in ("0", "1")]
        for sink in sinks:
            assert "cudaEventSynchronize fails: cudaErrorIllegalAddress" in str(sink.error)
    finally:
        del gpu.cuda.fails["cudaEventSynchronize"]
    engine.close()
    assert gpu.cuda.live() == []


@pytest.mark.parametrize("function", ["cudaMalloc", "cudaMallocHost"])
def test_whatever_does_not_fit_what_was_there_before_is_freed(
    tiny_llama: Path, tmp_path: Path, function: str
) -> None:
    gpu = MadeGPU(tiny_llama, tmp_path, full_logits=True)
    allocate = getattr(gpu.cuda, function)
    num_left = 0

    def allocate_some(size: int) -> Any:
        nonlocal num_left
        num_left -= 1
        if num_left < 0:
            return gpu.cuda.cudaError_t.cudaErrorMemoryAllocation, None
        return allocate(size)

    setattr(gpu.cuda, function, allocate_some)
    for num_given in itertools.count():
        num_left = num_given
        try:
            runner = gpu.runner()
        except PlanError as error:
            assert re.search(rf"{function} fails: .* \([1-9]\d* bytes were asked", str(error))
            assert gpu.cuda.live() == [], f"after {num_given} allocations"
        else:
            runner.close()
            break
    assert num_given > 2
