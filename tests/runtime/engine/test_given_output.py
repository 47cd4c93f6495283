"""Given drafts save steps and change no token; timings and logits are told who asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import CountingRunner
from llmasos.errors import InvalidRequestError, UnsupportedFieldError
from llmasos.sampling import SamplingParams
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.admission import check_logits_size
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.sequences.request import Request
from made_engine import Collected
from made_engine import engine as counting_engine
from made_engine import plan as made_plan

PROMPT = tuple((7 * j + j * j) % 250 for j in range(40))


@pytest.fixture(scope="module")
def engine(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("plan") / "plan"
    build_plan(tiny_llama, directory, BuildOptions(precision="f32", target="openvino"))
    options = EngineOptions(num_threads=1, kv_cache_bytes=2**24, speculate=False)
    engine = load_engine(directory, options)
    yield engine
    engine.close()


def answered(
    engine: Engine,
    *,
    drafts: tuple[int, ...] = (),
    is_timed: bool = False,
    wants_logits: bool = False,
    **fields: Any,
) -> Collected:
    sink = Collected()
    params = SamplingParams(**{"max_tokens": 30, "ignore_eos": True, **fields})
    request = Request(
        request_id="a",
        prompt_token_ids=PROMPT,
        params=params,
        draft_token_ids=drafts,
        is_timed=is_timed,
        wants_logits=wants_logits,
    )
    engine.submit(request, sink)
    assert sink.last.is_last
    return sink


def num_steps(engine: Engine, **fields: Any) -> int:
    before = engine.stats().num_steps
    answered(engine, **fields)
    return engine.stats().num_steps - before


@pytest.mark.parametrize(
    "sampling",
    [{}, {"temperature": 1.0, "seed": 4}, {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}],
)
def test_the_right_drafts_save_steps_and_wrong_ones_change_nothing(
    engine: Engine, sampling: dict[str, Any]
) -> None:
    plain = answered(engine, **sampling).token_ids
    right = tuple(plain)
    half_right = (*plain[:11], 3, 3, 3, *plain[14:])
    for drafts in (right, half_right, (3, 3, 3), right[:5], (*right, 3)):
        assert answered(engine, drafts=drafts, **sampling).token_ids == plain
    usage = answered(engine, drafts=right, **sampling).last.usage
    assert usage is not None
    assert usage.num_draft_tokens == usage.num_accepted_tokens >= 26
    assert num_steps(engine, drafts=right, **sampling) <= num_steps(engine, **sampling) // 5


def test_each_of_several_answers_uses_what_fits_it(engine: Engine) -> None:
    fields: dict[str, Any] = {"temperature": 1.0, "seed": 4, "n": 2}
    first = answered(engine, **fields)
    own = tuple(t for update in first.updates if update.index == 0 for t in update.token_ids)
    again = answered(engine, drafts=own, **fields)
    for index in (0, 1):
        told = [
            [t for u in a.updates if u.index == index for t in u.token_ids] for a in (first, again)
        ]
        assert told[0] == told[1]


def test_a_draft_beyond_the_vocabulary_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequestError, match="draft_input_ids holds token 999999"):
        answered(engine, drafts=(999_999,))


def test_an_engine_that_computes_no_drafts_refuses_them(tmp_path: Path) -> None:
    engine = counting_engine(tmp_path, CountingRunner())
    with pytest.raises(UnsupportedFieldError, match="draft_input_ids is not supported"):
        answered(engine, drafts=(5,))
    engine.close()


def test_timings_follow_each_other_where_they_are_asked_for(engine: Engine) -> None:
    before = time.monotonic_ns()
    timings = answered(engine, is_timed=True).last.timings
    assert timings is not None
    times = [before, *timings, time.monotonic_ns()]
    assert times == sorted(times)
    assert timings.last_token_ns > timings.first_token_ns
    assert answered(engine).last.timings is None


@pytest.mark.parity
def test_the_logits_are_those_of_transformers_whatever_changes_the_draw(
    engine: Engine, tiny_llama: Path
) -> None:
    import needs_torch  # noqa: F401 - before torch
    import torch
    import transformers

    fields: dict[str, Any] = {"temperature": 1.5, "seed": 2, "logit_bias": {5: 9.0}}
    plain = answered(engine, **fields)
    drafts = tuple(plain.token_ids)
    answer = answered(engine, wants_logits=True, drafts=drafts, **fields)
    assert answer.token_ids == plain.token_ids
    ours = np.array([row for update in answer.updates for row in update.logits])
    network = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    with torch.no_grad():
        theirs = network(torch.tensor([[*PROMPT, *plain.token_ids]])).logits[0]
    np.testing.assert_allclose(ours, theirs[len(PROMPT) - 1 : -1].numpy(), atol=1e-3)
    assert not any(update.logits for update in plain.updates)


@pytest.mark.parametrize(("max_tokens", "is_refused"), [(256, False), (257, True), (10**6, True)])
def test_logits_that_would_fill_the_memory_are_refused(max_tokens: int, is_refused: bool) -> None:
    large = made_plan(max_seq_len=1000).model_copy(update={"vocab_size": 2**20})
    params = SamplingParams(max_tokens=max_tokens)
    request = Request(request_id="a", prompt_token_ids=(5,), params=params, wants_logits=True)
    says = "return_generation_logits is allowed for at most 256 tokens"
    with pytest.raises(InvalidRequestError, match=says) if is_refused else nullcontext():
        check_logits_size(request, large)
