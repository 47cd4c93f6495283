"""Changed logits in compiled engines: as in transformers, whatever else an engine does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import InvalidRequestError
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from made_engine import ask, executor_of

PENALTIES: dict[str, Any] = {
    "repetition_penalty": 1.3,
    "presence_penalty": 0.2,
    "frequency_penalty": 0.4,
    "no_repeat_ngram_size": 3,
    "bad_words": ("a", "bc"),
    "logit_bias": {7: 0.5, 9: -4.0},
}
PROMPTS = [tuple((7 * i + j * j) % 250 for j in range(5 + 23 * i)) for i in range(5)]
NEW_TOKENS = 80


@pytest.fixture(scope="module")
def plan(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plan") / "plan"
    build_plan(tiny_llama, directory, BuildOptions(precision="f32"))
    return directory


def loaded(plan: Path, **options: Any) -> Engine:
    chosen = {"num_threads": 1, "kv_cache_bytes": 2**25, "reuse_prefixes": False, **options}
    return load_engine(plan, EngineOptions(**chosen))


@pytest.fixture(scope="module")
def engine(plan: Path) -> Iterator[Engine]:
    engine = loaded(plan, speculate=False)
    yield engine
    engine.close()


def together(engine: Engine, max_tokens: int = NEW_TOKENS, **params: Any) -> list[list[int]]:
    """The tokens of all prompts, submitted at once."""
    fields = {"max_tokens": max_tokens, "ignore_eos": True, **params}
    with executor_of(engine)._changed:  # no step begins before all are there
        sinks = [ask(engine, p, request_id=f"{i}", **fields) for i, p in enumerate(PROMPTS)]
    return [sink.token_ids for sink in sinks]


def alone(engine: Engine, **params: Any) -> list[list[int]]:
    fields = {"max_tokens": NEW_TOKENS, "ignore_eos": True, **PENALTIES, **params}
    return [ask(engine, prompt, **fields).token_ids for prompt in PROMPTS]


@pytest.mark.parity
def test_greedy_tokens_with_a_repetition_penalty_are_those_of_transformers(
    engine: Engine, tiny_llama: Path
) -> None:
    import needs_torch  # noqa: F401 - before torch
    import torch
    import transformers

    network = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    network.generation_config.eos_token_id = None
    said = {"do_sample": False, "repetition_penalty": 1.3, "pad_token_id": 0}
    theirs = [
        network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, **said)
        for ids in (torch.tensor([prompt]) for prompt in PROMPTS)
    ]
    ours = together(engine, 40, repetition_penalty=1.3)
    assert ours == [whole[0, -40:].tolist() for whole in theirs]
    assert ours != together(engine, 40)


def test_a_bad_word_and_a_banned_token_never_come(engine: Engine) -> None:
    free = together(engine, 30)
    every = [token for tokens in free for token in tokens]
    words = {token: engine.tokenizer.decode([token]) for token in every}
    plain = [token for token in every if words[token].isascii() and words[token].isprintable()]
    common = max({*plain}, key=plain.count)
    word = words[common]
    assert engine.tokenizer.encode(word, add_special_tokens=False) == [common]
    for fields in ({"logit_bias": {common: -1e9}}, {"bad_words": (word,)}):
        said: dict[str, Any] = fields
        assert not any(common in tokens for tokens in together(engine, 30, **said))


def test_an_ngram_comes_once(engine: Engine) -> None:
    for prompt, tokens in zip(PROMPTS, together(engine, 60, no_repeat_ngram_size=2), strict=True):
        text = [*prompt, *tokens]
        new = list(zip(text[len(prompt) - 1 :], text[len(prompt) :], strict=False))
        old = set(pairwise(prompt))
        assert len({*new}) == len(new)
        assert not old & {*new}


def test_a_token_beyond_the_vocabulary_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequestError, match="logit_bias holds token 999999, token ids are"):
        ask(engine, PROMPTS[0], logit_bias={999_999: 1.0})


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "seed": 3}])
def test_tokens_are_the_same_alone_in_a_batch_and_from_a_cached_prefix(
    plan: Path, engine: Engine, sampling: dict[str, Any]
) -> None:
    expected = alone(engine, **sampling)
    assert together(engine, **PENALTIES, **sampling) == expected
    reusing = loaded(plan, reuse_prefixes=True, speculate=False)
    assert alone(reusing, **sampling) == expected
    assert together(reusing, **PENALTIES, **sampling) == expected
    assert reusing.stats().num_reused_blocks > 0
    reusing.close()


def test_tokens_are_the_same_when_some_were_preempted(plan: Path, engine: Engine) -> None:
    expected = together(engine, 120, **PENALTIES)
    block_bytes = 2**25 // engine.stats().num_blocks
    narrow = loaded(plan, kv_cache_bytes=16 * block_bytes, speculate=False)
    assert together(narrow, 120, **PENALTIES) == expected
    assert narrow.stats().num_preemptions > 1
    narrow.close()


def test_penalties_of_one_request_change_no_other(engine: Engine) -> None:
    plain = together(engine, 30)
    fields: dict[str, Any] = {"max_tokens": 30, "ignore_eos": True}
    with executor_of(engine)._changed:
        sinks = [
            ask(engine, prompt, request_id=f"{i}", **fields, **(PENALTIES if i % 2 else {}))
            for i, prompt in enumerate(PROMPTS)
        ]
    tokens = [sink.token_ids for sink in sinks]
    assert tokens[::2] == plain[::2]
    assert tokens[1::2] != plain[1::2]
