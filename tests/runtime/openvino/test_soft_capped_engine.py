"""Tokens of a Gemma 2 with a soft cap: in f32 nothing that runs beside a sequence changes them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.openvino import microbatches
from made_engine import Collected, ask
from tiny import write_tiny_gemma2

CAP = 1.0
NEW_TOKENS = 40
PROMPTS = [tuple((7 * i + j * j) % 250 for j in range(5 + 23 * i)) for i in range(7)]
Load = Callable[..., Engine]
numbers = itertools.count()


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Loads an engine in f32 of the tiny Gemma 2 with such a cap and window."""
    plans: dict[tuple[float | None, int], Path] = {}
    engines: list[Engine] = []

    def load(cap: float | None = CAP, window: int = 40, **options: Any) -> Engine:
        if (cap, window) not in plans:
            directory = tmp_path_factory.mktemp("gemma2")
            write_tiny_gemma2(directory / "checkpoint", cap=cap, window=window)
            plans[cap, window] = directory / "plan"
            build = BuildOptions(precision="f32")
            build_plan(directory / "checkpoint", directory / "plan", build)
        chosen = {"num_threads": 1, "kv_cache_bytes": 2**25, "reuse_prefixes": False} | options
        engines.append(load_engine(plans[cap, window], EngineOptions(**chosen)))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def expected(load: Load) -> list[list[int]]:
    """The tokens of each prompt alone."""
    engine = load()
    return [answers(engine, [prompt])[0] for prompt in PROMPTS]


def submit(engine: Engine, prompt: tuple[int, ...], max_tokens: int) -> Collected:
    name = f"{next(numbers)}"
    return ask(engine, prompt, request_id=name, max_tokens=max_tokens, ignore_eos=True)


def answers(
    engine: Engine, prompts: list[tuple[int, ...]], max_tokens: int = NEW_TOKENS
) -> list[list[int]]:
    """The tokens of these prompts when all are submitted at once."""
    return [sink.token_ids for sink in [submit(engine, p, max_tokens) for p in prompts]]


def test_tokens_are_the_same_alone_and_in_any_batch(load: Load, expected: list[list[int]]) -> None:
    assert len({token for tokens in expected for token in tokens}) > 20
    engine = load()
    assert answers(engine, PROMPTS) == expected
    assert answers(engine, PROMPTS[::-1]) == expected[::-1]


@pytest.mark.parametrize("changes", [{"cap": None}, {"cap": 1.2}, {"window": 30}])
def test_another_cap_or_window_gives_other_tokens(
    load: Load, expected: list[list[int]], changes: dict[str, Any]
) -> None:
    assert answers(load(**changes), PROMPTS) != expected


def test_sequences_may_join_and_leave_at_any_step(load: Load, expected: list[list[int]]) -> None:
    engine = load()
    sinks = []
    for number, prompt in enumerate(PROMPTS):
        sinks.append(submit(engine, prompt, NEW_TOKENS - 5 * number))
        sinks[-1].wait_for_first()
    for number, sink in enumerate(sinks):
        assert sink.token_ids == expected[number][: NEW_TOKENS - 5 * number]


@pytest.mark.parametrize("max_num_tokens", [8, 29])
def test_tokens_are_the_same_when_prompts_come_in_chunks(
    load: Load, expected: list[list[int]], max_num_tokens: int
) -> None:
    engine = load(max_num_tokens=max_num_tokens)
    assert answers(engine, PROMPTS) == expected
    assert any(step.num_prefill_tokens and step.num_decode_tokens for step in engine.step_log())


def test_tokens_are_the_same_however_a_step_is_cut_into_microbatches(
    load: Load, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = {"MAX_MICROBATCH_LENGTH": 17, "MAX_MICROBATCH_SCORES": 900, "MAX_GATHERED_TOKENS": 150}
    for name, limit in cuts.items():
        monkeypatch.setattr(microbatches, name, limit)
    assert answers(load(), PROMPTS) == expected


def test_tokens_are_the_same_from_a_cached_prefix(load: Load, expected: list[list[int]]) -> None:
    engine = load(reuse_prefixes=True)
    for _ in range(2):
        assert answers(engine, PROMPTS) == expected
    assert engine.stats().num_reused_blocks > 0
    turns = [(*prompt, *answer, 5, 6) for prompt, answer in zip(PROMPTS, expected, strict=True)]
    assert answers(engine, turns) == answers(load(), turns)


def test_tokens_are_the_same_when_some_were_preempted(load: Load) -> None:
    roomy = load()
    expected = answers(roomy, PROMPTS[:5], 120)
    block_bytes = 2**25 // roomy.stats().num_blocks
    narrow = load(kv_cache_bytes=16 * block_bytes)
    assert answers(narrow, PROMPTS[:5], 120) == expected
    assert narrow.stats().num_preemptions > 1
    assert narrow.stats().num_free_blocks == narrow.stats().num_blocks


def test_blocks_that_others_have_used_change_nothing(load: Load, expected: list[list[int]]) -> None:
    engine = load()
    answers(engine, [tuple(range(200, 50, -1))] * 8)
    assert answers(engine, PROMPTS) == expected


def test_nothing_is_guessed_where_each_guess_would_be_a_microbatch(load: Load) -> None:
    engine = load(speculate=True)
    repeated = submit(engine, tuple(range(20)) * 3, 30)
    usage = repeated.last.usage
    assert usage is not None and usage.num_draft_tokens == 0
