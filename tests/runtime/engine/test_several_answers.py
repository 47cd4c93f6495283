"""n answers to one prompt are those of n requests, and compute the prompt once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llmasos.generation.stream import join
from llmasos.outputs import FinishReason
from llmasos.sampling import SamplingParams
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.sequences.request import Request, Update, piece_of
from made_engine import Collected, ask, executor_of

PROMPT = tuple((7 * j + j * j) % 250 for j in range(100))
ASKED: dict[str, Any] = {
    "max_tokens": 30,
    "ignore_eos": True,
    "temperature": 1.0,
    "seed": 2**64 - 1,
}
N = 3


@pytest.fixture(scope="module")
def plan(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plan") / "plan"
    build_plan(tiny_llama, directory, BuildOptions(precision="f32", target="openvino"))
    return directory


@pytest.fixture(params=[True, False], ids=["reusing", "not reusing"])
def engine(plan: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = load_engine(
        plan, EngineOptions(num_threads=1, kv_cache_bytes=2**24, reuse_prefixes=request.param)
    )
    yield engine
    engine.close()


def tokens_of_each(answer: Collected) -> list[list[int]]:
    updates = answer.updates
    return [
        [token for update in updates if (update.index or 0) == i for token in update.token_ids]
        for i in range(1 + max(update.index or 0 for update in updates))
    ]


def test_each_is_the_answer_to_a_request_with_the_next_seed(engine: Engine) -> None:
    together = tokens_of_each(ask(engine, PROMPT, n=N, **ASKED))
    seeds = [2**64 - 1, 0, 1]
    alone = [ask(engine, PROMPT, **{**ASKED, "seed": seed}).token_ids for seed in seeds]
    assert together == alone
    assert together[0] != together[1] != together[2]


def test_they_change_no_other_request_and_leave_no_block_behind(engine: Engine) -> None:
    alone = ask(engine, PROMPT[:9], **ASKED).token_ids
    with executor_of(engine)._changed:
        several = ask(engine, PROMPT, request_id="several", n=N, logprobs=1, **ASKED)
        one = ask(engine, PROMPT[:9], request_id="one", **ASKED)
    assert one.token_ids == alone
    assert several.last.is_last
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting) == (0, 0)
    assert stats.num_free_blocks == stats.num_blocks


def test_a_penalty_of_one_answer_counts_its_own_tokens(engine: Engine) -> None:
    fields = {**ASKED, "frequency_penalty": 2.0, "no_repeat_ngram_size": 2}
    together = tokens_of_each(ask(engine, PROMPT, n=2, **fields))
    assert together[1] == ask(engine, PROMPT, **{**fields, "seed": 0}).token_ids


def test_the_first_has_the_others_as_choices(engine: Engine) -> None:
    answer = ask(engine, PROMPT, n=N, **ASKED)
    generation = join(map(piece_of, answer.updates))
    assert [list(choice.token_ids) for choice in generation.choices] == tokens_of_each(answer)
    assert {choice.finish_reason for choice in generation.choices} == {FinishReason.LENGTH}
    assert [choice.usage.num_output_tokens for choice in generation.choices] == [30] * N


def test_cancelling_ends_every_answer(engine: Engine) -> None:
    answer = ask(engine, PROMPT, n=N, **{**ASKED, "max_tokens": 900})
    answer.wait_for_first()
    assert engine.cancel("a")
    ends = [update for update in answer.updates if update.finish_reason is not None]
    assert [update.finish_reason for update in ends] == [FinishReason.ABORT] * N
    assert sorted(update.num_unfinished for update in ends) == list(range(N))
    assert engine.stats().num_free_blocks == engine.stats().num_blocks


def test_a_sink_that_fails_ends_every_answer(engine: Engine) -> None:
    seen: list[Update] = []

    def broken(update: Update) -> None:
        seen.append(update)
        raise ValueError("a sink's fault")

    params = SamplingParams(n=N, **{**ASKED, "max_tokens": 900})
    engine.submit(Request(request_id="bad", prompt_token_ids=PROMPT, params=params), broken)
    assert ask(engine, PROMPT, max_tokens=40).last.is_last
    ends = [update for update in seen if update.is_last]
    assert len(ends) == 1
    assert engine.stats().num_running == 0


def test_they_are_the_same_when_some_were_preempted(plan: Path, engine: Engine) -> None:
    fields = {**ASKED, "max_tokens": 120, "logprobs": 0}
    expected = tokens_of_each(ask(engine, PROMPT, n=6, **fields))
    block_bytes = 2**24 // engine.stats().num_blocks
    narrow = load_engine(
        plan, EngineOptions(num_threads=1, kv_cache_bytes=20 * block_bytes, speculate=False)
    )
    assert tokens_of_each(ask(narrow, PROMPT, n=6, **fields)) == expected
    assert narrow.stats().num_preemptions > 0
    narrow.close()
