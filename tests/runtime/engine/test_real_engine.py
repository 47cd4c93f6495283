"""Tokens of compiled engines: in f32 nothing that runs beside a sequence changes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from llmasos.errors import PlanError
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.openvino.openvino_runner import OpenVINORunner
from llmasos_runtime.sequences.drafter import Price
from llmasos_runtime.sequences.step import Step
from made_engine import ask, executor_of

NEW_TOKENS = 24
PROMPTS = [tuple((7 * i + j * j) % 250 for j in range(5 + 23 * i)) for i in range(8)]
Load = Callable[..., Engine]


@pytest.fixture(scope="module")
def load(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Loads an engine of the tiny Llama, built with these options the first time."""
    plans: dict[BuildOptions, Path] = {}
    engines: list[Engine] = []

    def load(build: BuildOptions, **options: int | bool) -> Engine:
        if build not in plans:
            plans[build] = tmp_path_factory.mktemp("plan") / "plan"
            build_plan(tiny_llama, plans[build], build)
        chosen: dict[str, Any] = {
            "num_threads": 1,
            "kv_cache_bytes": 2**25,
            "reuse_prefixes": False,
        }
        engines.append(load_engine(plans[build], EngineOptions(**{**chosen, **options})))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


numbers = itertools.count()


def answers(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    max_tokens: int = NEW_TOKENS,
    **params: Any,
) -> list[list[int]]:
    """The tokens of these prompts when all are submitted at once."""
    with executor_of(engine)._changed:  # no step begins before all are there
        sinks = [
            ask(
                engine,
                prompt,
                request_id=f"{next(numbers)}",
                max_tokens=max_tokens,
                ignore_eos=True,
                **params,
            )
            for prompt in prompts
        ]
    return [sink.token_ids for sink in sinks]


def alone(engine: Engine) -> list[list[int]]:
    return [answers(engine, [prompt])[0] for prompt in PROMPTS]


def test_f32_tokens_are_the_same_alone_and_in_any_batch(load: Load) -> None:
    engine = load(BuildOptions(precision="f32"))
    expected = alone(engine)
    assert len({token for tokens in expected for token in tokens}) > 20
    assert answers(engine, PROMPTS) == expected
    assert answers(engine, PROMPTS[::-1]) == expected[::-1]
    assert answers(engine, [PROMPTS[3]] * 5) == [expected[3]] * 5


@pytest.mark.parametrize("max_num_tokens", [8, 29, 100])
def test_f32_tokens_are_the_same_when_prompts_come_in_chunks(
    load: Load, max_num_tokens: int
) -> None:
    build = BuildOptions(precision="f32")
    chunked = load(build, max_num_tokens=max_num_tokens)
    assert answers(chunked, PROMPTS) == alone(load(build))
    steps = chunked.step_log()
    assert max(step.num_prefill_tokens + step.num_decode_tokens for step in steps) <= max_num_tokens
    assert any(step.num_prefill_tokens and step.num_decode_tokens for step in steps)


def test_blocks_that_others_have_used_change_nothing(load: Load) -> None:
    engine = load(BuildOptions(precision="f32"))
    first = answers(engine, PROMPTS)
    answers(engine, [tuple(range(200, 50, -1))] * 8)
    assert answers(engine, PROMPTS) == first


def test_f32_tokens_are_the_same_from_a_cached_prefix(load: Load) -> None:
    build = BuildOptions(precision="f32")
    expected = alone(load(build))
    engine = load(build, reuse_prefixes=True)
    assert alone(engine) == expected
    before = engine.stats().num_reused_blocks
    assert answers(engine, PROMPTS) == expected
    assert engine.stats().num_reused_blocks > before
    turns = [(*prompt, *answer, 5, 6) for prompt, answer in zip(PROMPTS, expected, strict=True)]
    assert answers(engine, turns) == answers(load(build), turns)


@pytest.mark.parametrize("reuse_prefixes", [False, True])
def test_f32_tokens_are_the_same_when_some_were_preempted(load: Load, reuse_prefixes: bool) -> None:
    build = BuildOptions(precision="f32")
    roomy = load(build)
    expected = answers(roomy, PROMPTS[:5], 120)
    block_bytes = 2**25 // roomy.stats().num_blocks
    narrow = load(build, kv_cache_bytes=16 * block_bytes, reuse_prefixes=reuse_prefixes)
    assert answers(narrow, PROMPTS[:5], 120) == expected
    assert roomy.stats().num_preemptions == 0
    assert narrow.stats().num_preemptions > 1
    assert narrow.stats().num_free_blocks == narrow.stats().num_blocks


class Foreseeing:
    """A drafter that knows the answers, and is wrong now and then."""

    known: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, token_ids: list[int]) -> None:
        self._token_ids = token_ids

    def propose(self, *, most: int, price: Price) -> tuple[int, ...]:
        del price
        past = tuple(self._token_ids)
        (whole,) = {one for one in self.known if one[: len(past)] == past}
        drafts = whole[len(past) : len(past) + min(most, len(past) % 7)]
        return tuple(1 if place % 5 == 4 else token for place, token in enumerate(drafts))


PENALTIES = {"repetition_penalty": 1.3, "presence_penalty": 0.2, "frequency_penalty": 0.4}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.7, "seed": 5},
        {"temperature": 1.5, "top_k": 9, "seed": 6},
        PENALTIES,
        {"temperature": 0.7, "seed": 5, **PENALTIES},
    ],
)
def test_f32_tokens_are_the_same_when_some_were_guessed(
    load: Load, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    build = BuildOptions(precision="f32")
    plain, guessing = load(build, speculate=False), load(build)
    prompts = PROMPTS[:5]
    expected = [answers(plain, [prompt], 70, **params)[0] for prompt in prompts]
    monkeypatch.setattr(
        Foreseeing, "known", [(*p, *a) for p, a in zip(prompts, expected, strict=True)]
    )
    monkeypatch.setattr("llmasos_runtime.engine.admission.Drafter", Foreseeing)
    assert [answers(guessing, [prompt], 70, **params)[0] for prompt in prompts] == expected
    assert len(guessing.step_log()) < len(plain.step_log()) / 2
    assert answers(guessing, prompts, 70, **params) == expected
    narrow = load(build, kv_cache_bytes=2**25 // plain.stats().num_blocks * 16)
    assert answers(narrow, prompts, 70, **params) == expected


def test_of_a_shared_prefix_only_what_is_new_is_computed(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[int] = []

    def start(runner: OpenVINORunner, step: Step) -> None:
        packed.append(sum(len(share.token_ids) for share in step.shares))
        run(runner, step)

    run = OpenVINORunner.start
    monkeypatch.setattr(OpenVINORunner, "start", start)
    engine = load(BuildOptions(precision="f32"), reuse_prefixes=True)
    prefix = tuple(3 * i % 250 for i in range(400))
    for question, num_cached in (((7, 8, 9), 0), ((10, 11, 12, 13), 384)):
        answer = ask(engine, (*prefix, *question), request_id=str(question), max_tokens=1)
        assert answer.last.usage is not None
        assert answer.last.usage.num_cached_tokens == num_cached
        assert sum(packed) == 400 + len(question) - num_cached
        packed.clear()


def test_a_u8_cache_is_filled_in_whole_blocks(load: Load) -> None:
    build = BuildOptions(precision="f32", kv_cache_precision="u8")
    whole = load(build)
    chunked = load(build, max_num_tokens=40, max_batch_size=1)
    assert answers(chunked, PROMPTS) == alone(whole)
    long = [step.num_prefill_tokens for step in chunked.step_log() if step.num_prefill_tokens > 8]
    assert 32 in long


def test_a_deterministic_int8_plan_does_not_depend_on_the_batch(load: Load) -> None:
    engine = load(BuildOptions(precision="int8", deterministic=True))
    assert answers(engine, PROMPTS) == alone(engine)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_smaller_precisions_begin_like_f32(load: Load, precision: str) -> None:
    reference = load(BuildOptions(precision="f32"))
    smaller = load(BuildOptions(precision=precision))  # type: ignore[arg-type]  # see parametrize
    pairs = zip(alone(reference), alone(smaller), strict=True)
    agreements = [
        next((i for i, (a, b) in enumerate(zip(*pair, strict=True)) if a != b), NEW_TOKENS)
        for pair in pairs
    ]
    assert sum(agreements) / len(agreements) > 4


def test_a_cache_that_cannot_hold_one_sequence_is_refused(load: Load) -> None:
    with pytest.raises(PlanError, match=r"kv_cache_bytes is 1000 bytes; .* max_seq_len 512 needs"):
        load(BuildOptions(precision="f32"), kv_cache_bytes=1000)


def test_a_cache_larger_than_the_memory_is_refused(load: Load) -> None:
    with pytest.raises(PlanError, match=r"kv_cache_bytes is 2\d+ bytes; \d+ are available here"):
        load(BuildOptions(precision="f32"), kv_cache_bytes=2 * 10**15)


def test_an_ir_that_is_something_else_is_one_clear_error(tiny_llama: Path, tmp_path: Path) -> None:
    from llmasos.engine.plan import EnginePlan
    from llmasos.engine.plan_files import record_file

    plan = build_plan(tiny_llama, tmp_path / "plan", BuildOptions(precision="f32"))
    ir = tmp_path / "plan" / "openvino_model.xml"
    ir.write_text("<net/>")
    files = {**plan.files, ir.name: record_file(ir)}
    EnginePlan.model_validate({**plan.model_dump(), "files": files}).write(tmp_path / "plan")
    with pytest.raises(PlanError, match=r"openvino_model\.xml cannot be loaded: .*") as caught:
        load_engine(tmp_path / "plan")
    assert "\n" not in str(caught.value)
