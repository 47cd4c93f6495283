"""Log probabilities of compiled engines are transformers', whatever else an engine does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmasos.outputs import TokenLogprob
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from made_engine import Collected, ask, executor_of

PROMPTS = [tuple((7 * i + j * j) % 250 for j in range(5 + 23 * i)) for i in range(5)]
NEW_TOKENS = 40
ASKED: dict[str, Any] = {"max_tokens": NEW_TOKENS, "ignore_eos": True, "logprobs": 3}


@pytest.fixture(scope="module")
def plan(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plan") / "plan"
    build_plan(tiny_llama, directory, BuildOptions(precision="f32", target="openvino"))
    return directory


def loaded(plan: Path, **options: Any) -> Engine:
    chosen = {"num_threads": 1, "kv_cache_bytes": 2**25, "speculate": False, **options}
    return load_engine(plan, EngineOptions(**chosen))


@pytest.fixture(scope="module")
def engine(plan: Path) -> Iterator[Engine]:
    engine = loaded(plan)
    yield engine
    engine.close()


def logprobs(answer: Collected) -> list[TokenLogprob]:
    return [one for update in answer.updates for one in update.logprobs]


def together(engine: Engine, **params: Any) -> list[list[TokenLogprob]]:
    with executor_of(engine)._changed:  # no step begins before all are there
        sinks = [
            ask(engine, p, request_id=f"{i}", **{**ASKED, **params}) for i, p in enumerate(PROMPTS)
        ]
    return [logprobs(sink) for sink in sinks]


def alone(engine: Engine, **params: Any) -> list[list[TokenLogprob]]:
    return [logprobs(ask(engine, prompt, **{**ASKED, **params})) for prompt in PROMPTS]


def assert_close(ours: list[list[TokenLogprob]], theirs: list[list[TokenLogprob]]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert [one.token_id for one in mine] == [one.token_id for one in other]
        numbers = [[one.logprob, *(p for _, p in one.top_logprobs)] for one in mine]
        others = [[one.logprob, *(p for _, p in one.top_logprobs)] for one in other]
        np.testing.assert_allclose(numbers, others, atol=1e-4)


@pytest.mark.parity
@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 1.3, "seed": 5, "top_k": 40, "repetition_penalty": 1.4}]
)
def test_they_are_the_log_softmax_of_the_networks_own_logits(
    engine: Engine, tiny_llama: Path, sampling: dict[str, Any]
) -> None:
    import needs_torch  # noqa: F401 - before torch
    import torch
    import transformers

    network = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    prompt = PROMPTS[2]
    answer = ask(engine, prompt, **{**ASKED, **sampling})
    tokens, found = answer.token_ids, logprobs(answer)
    with torch.no_grad():
        logits = network(torch.tensor([[*prompt, *tokens]])).logits[0]
    expected = torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]
    assert [one.token_id for one in found] == tokens
    for one, row in zip(found, expected, strict=True):
        assert one.logprob == pytest.approx(float(row[one.token_id]), abs=1e-3)
        assert [p for _, p in one.top_logprobs] == pytest.approx(row.topk(3)[0].tolist(), abs=1e-3)
    assert answer.last.cumulative_logprob == pytest.approx(sum(one.logprob for one in found))


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "seed": 3}])
def test_they_are_the_same_alone_in_a_batch_and_with_drafts(
    plan: Path, engine: Engine, sampling: dict[str, Any]
) -> None:
    expected = alone(engine, **sampling)
    assert_close(together(engine, **sampling), expected)
    assert_close(together(engine, **sampling, speculate=True), expected)
    assert engine.stats().num_reused_blocks > 0


def test_every_draft_that_is_accepted_has_its_own(engine: Engine) -> None:
    prompt = (5, 6, 7, 8, 9) * 8
    plain = logprobs(ask(engine, prompt, **ASKED))
    drafted = ask(engine, prompt, **ASKED, speculate=True)
    assert_close([logprobs(drafted)], [plain])
    assert drafted.last.usage is not None
    assert drafted.last.usage.num_accepted_tokens > 0


def test_they_are_the_same_when_some_were_preempted(plan: Path, engine: Engine) -> None:
    expected = together(engine, max_tokens=120)
    block_bytes = 2**25 // engine.stats().num_blocks
    narrow = loaded(plan, kv_cache_bytes=16 * block_bytes)
    assert_close(together(narrow, max_tokens=120), expected)
    assert narrow.stats().num_preemptions > 1
    narrow.close()


def test_there_is_one_for_each_token_up_to_a_stop_string_and_none_of_the_prompt(
    engine: Engine,
) -> None:
    text = ask(engine, PROMPTS[1], **ASKED).text
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    answer = ask(engine, PROMPTS[1], **ASKED, stop=(stop,), echo=True)
    assert answer.last.usage is not None
    assert len(logprobs(answer)) == answer.last.usage.num_output_tokens < NEW_TOKENS
    own = answer.token_ids[len(PROMPTS[1]) :]
    assert [one.token_id for one in logprobs(answer)] == own


def test_who_does_not_ask_gets_none(engine: Engine) -> None:
    with executor_of(engine)._changed:
        asked = ask(engine, PROMPTS[0], request_id="asked", **ASKED)
        other = ask(engine, PROMPTS[1], request_id="other", max_tokens=5)
    assert logprobs(asked)
    assert not logprobs(other)
    assert other.last.cumulative_logprob is None
