"""Beam search finds the answers of transformers, beside whatever else an engine does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.errors import DeadlineExceededError, InvalidRequestError, UnsupportedFieldError
from llmasos.guide import Guide
from llmasos.outputs import FinishReason
from llmasos.sampling import SamplingParams
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.beam_search import BeamSearch
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from made_engine import Collected, ask

PROMPT = tuple((7 * j + j * j) % 250 for j in range(40))
ENDS = tuple(range(0, 250, 6))
"""So many tokens that answers of random weights end at all lengths."""
NEW_TOKENS = 12


def loaded(tiny_llama: Path, directory: Path, options: BuildOptions) -> Iterator[Engine]:
    build_plan(tiny_llama, directory, options)
    engine = load_engine(directory, EngineOptions(num_threads=1, kv_cache_bytes=2**25))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def openvino_engine(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    options = BuildOptions(precision="f32", target="openvino")
    yield from loaded(tiny_llama, tmp_path_factory.mktemp("openvino") / "plan", options)


@pytest.fixture(scope="module")
def native_engine(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if this_cpu_kind() is None:
        pytest.skip("no native code for this processor")
    options = BuildOptions(precision="int8", target="native")
    yield from loaded(tiny_llama, tmp_path_factory.mktemp("native") / "plan", options)


@pytest.fixture(params=["openvino", "native"])
def engine(request: pytest.FixtureRequest) -> Engine:
    chosen: Engine = request.getfixturevalue(f"{request.param}_engine")
    return chosen


@pytest.fixture(scope="module")
def network(tiny_llama: Path) -> Any:
    import needs_torch  # noqa: F401
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(tiny_llama).eval()


def answers(collected: Collected) -> list[list[int]]:
    return [list(update.token_ids) for update in collected.updates]


def expected(network: Any, prompt: tuple[int, ...], n: int, **options: Any) -> list[list[int]]:
    import torch

    made = network.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        num_return_sequences=n,
        do_sample=False,
        eos_token_id=list(ENDS),
        pad_token_id=-1,
        **{"max_new_tokens": NEW_TOKENS, **options},
    )
    return [[token for token in row[len(prompt) :].tolist() if token >= 0] for row in made]


@pytest.mark.parity
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"beam_width": 2, "n": 1}, {"num_beams": 2}),
        ({"early_stopping": True}, {"early_stopping": True}),
        ({"length_penalty": 0.0}, {"length_penalty": 0.0}),
        ({"length_penalty": 3.0}, {"length_penalty": 3.0}),
        ({"length_penalty": -1.5}, {"length_penalty": -1.5}),
        ({"min_tokens": 6}, {"min_new_tokens": 6}),
        ({"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 2}),
        ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
        ({"suppress_tokens": (11, 17)}, {"suppress_tokens": [11, 17]}),
    ],
    ids=str,
)
def test_the_answers_are_those_of_transformers(
    openvino_engine: Engine, network: Any, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    chosen = {"n": 4, "beam_width": 4, **ours}
    for begin in (0, 9):
        prompt = PROMPT[begin:]
        asked = ask(
            openvino_engine,
            prompt,
            max_tokens=NEW_TOKENS,
            ignore_eos=True,
            stop_token_ids=ENDS,
            **chosen,
        )
        options = {"num_beams": 4, **theirs}
        assert answers(asked) == expected(network, prompt, chosen["n"], **options)


def test_each_answer_comes_whole_with_its_count_and_reason(engine: Engine) -> None:
    asked = ask(engine, PROMPT, n=3, beam_width=5, max_tokens=NEW_TOKENS, stop_token_ids=ENDS)
    assert [update.index for update in asked.updates] == [0, 1, 2]
    assert [update.num_unfinished for update in asked.updates] == [2, 1, 0]
    for update in asked.updates:
        assert update.usage is not None
        assert update.usage.num_output_tokens == len(update.token_ids)
        assert update.usage.num_prompt_tokens == len(PROMPT)
        has_stopped = update.token_ids[-1] in ENDS
        assert update.finish_reason is (FinishReason.STOP if has_stopped else FinishReason.LENGTH)


def test_log_probabilities_rank_the_answers(engine: Engine) -> None:
    asked = ask(
        engine, PROMPT, n=4, beam_width=4, max_tokens=6, ignore_eos=True, logprobs=2
    ).updates
    sums = [update.cumulative_logprob for update in asked]
    assert all(value is not None for value in sums)
    assert sums == sorted(sums, reverse=True)  # type: ignore[type-var]  # they are of one length
    for update in asked:
        assert [one.token_id for one in update.logprobs] == list(update.token_ids)
        assert all(len(one.top_logprobs) == 2 for one in update.logprobs)


def test_a_stop_string_ends_an_answer(engine: Engine) -> None:
    (free,) = ask(engine, PROMPT, beam_width=3, max_tokens=8, ignore_eos=True).updates
    stop = free.text[2]
    asked = ask(
        engine, PROMPT, n=3, beam_width=3, max_tokens=8, ignore_eos=True, stop=(stop,)
    ).updates
    assert any(update.stop_reason == stop for update in asked)
    assert all(stop not in update.text for update in asked)


def test_beams_change_no_answer_beside_them(engine: Engine) -> None:
    alone = ask(engine, PROMPT[5:], max_tokens=30, ignore_eos=True).token_ids
    search = ask(engine, PROMPT, n=4, beam_width=4, max_tokens=30, ignore_eos=True)
    beside = ask(engine, PROMPT[5:], request_id="b", max_tokens=30, ignore_eos=True)
    assert beside.token_ids == alone
    found = answers(search)
    again = ask(engine, PROMPT, n=4, beam_width=4, max_tokens=30, ignore_eos=True)
    assert answers(again) == found
    stats = engine.stats()
    assert stats.num_running == stats.num_waiting == 0
    assert stats.num_free_blocks == stats.num_blocks


def test_a_cancelled_search_answers_with_what_it_has_and_frees_its_blocks(engine: Engine) -> None:
    search = ask(engine, PROMPT, beam_width=4, n=2, max_tokens=400, ignore_eos=True)
    while not engine.stats().num_running:
        time.sleep(0.001)
    assert engine.cancel("a")
    assert {update.finish_reason for update in search.updates} == {FinishReason.ABORT}
    assert not engine.cancel("a")
    assert engine.stats().num_running == 0


def test_an_abandoned_search_ends(engine: Engine) -> None:
    search = ask(engine, PROMPT, beam_width=4, max_tokens=400, ignore_eos=True)
    engine.abandon("a")
    assert search.last.finish_reason is FinishReason.ABORT


def test_a_search_that_is_late_fails_as_a_whole(engine: Engine) -> None:
    search = ask(engine, PROMPT, beam_width=8, max_tokens=400, ignore_eos=True, deadline_ms=5)
    assert isinstance(search.error, DeadlineExceededError)
    assert "deadline_ms of 5" in str(search.error)


def test_a_late_search_of_quick_steps_fails_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step asks with what is left of the deadline, at least 1 ms, and may take less."""
    monkeypatch.setattr(BeamSearch, "_one_token", lambda self: SamplingParams(max_tokens=1))
    search = ask(engine, PROMPT, beam_width=2, max_tokens=400, ignore_eos=True, deadline_ms=5)
    assert isinstance(search.error, DeadlineExceededError)


def test_its_id_is_taken_until_it_ends(engine: Engine) -> None:
    search = ask(engine, PROMPT, beam_width=2, max_tokens=100, ignore_eos=True)
    for width in (1, 2):
        with pytest.raises(InvalidRequestError, match="request_id 'a' is in use"):
            ask(engine, PROMPT, beam_width=width)
    assert search.last
    assert ask(engine, PROMPT, beam_width=2).last.finish_reason is FinishReason.LENGTH


def test_a_closed_engine_ends_the_search(tiny_plan: Path) -> None:
    engine = load_engine(tiny_plan, EngineOptions(num_threads=1, kv_cache_bytes=2**24))
    search = ask(engine, PROMPT, beam_width=4, max_tokens=400, ignore_eos=True)
    engine.close()
    assert "closed" in str(search.error)


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"n": 3}, InvalidRequestError, "n must be at most beam_width, which is 2, got 3"),
        ({"temperature": 0.7}, InvalidRequestError, "temperature must be 0 where beam_width"),
        ({"guide": Guide.regex("a+")}, UnsupportedFieldError, "guide is not supported where"),
        ({"beam_width": 65}, InvalidRequestError, "beam_width must be between 1 and 64, got 65"),
    ],
)
def test_what_beams_cannot_do_is_refused(
    engine: Engine, fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        ask(engine, PROMPT, **{"beam_width": 2, **fields})


def test_a_fault_of_our_own_ends_the_search_with_an_error(engine: Engine) -> None:
    """And not with a hang."""

    def fail(*_: object) -> None:
        raise FloatingPointError("made up")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("llmasos_runtime.engine.beam_search.BeamSearch._advance", fail)
        search = ask(engine, PROMPT, beam_width=2)
        assert "internal error: FloatingPointError: made up" in str(search.error)
