"""Encoder-decoders have the values, greedy answers and beams of transformers' networks."""

from __future__ import annotations

import queue
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_decoder_networks import FAMILIES, write_encoder_decoder
from llmasos.sampling import SamplingParams
from llmasos_builder.build import build_plan
from llmasos_builder.options import BuildOptions
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.load import load_engine
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.sequences.request import Request, Update

NEW = 14
LENGTHS = (1, 9, 33, 40)
_OPTIONS = BuildOptions(precision="f32", target="openvino")


class Pair:
    """transformers' network of a family, and the engine built from the same checkpoint."""

    def __init__(self, directory: Path, family: str, **options: Any) -> None:
        self.oracle = write_encoder_decoder(directory / "checkpoint", family)
        build_plan(directory / "checkpoint", directory / "plan", _OPTIONS)
        self.plan = directory / "plan"
        self.engine = load_engine(self.plan, EngineOptions(**options))
        self.eos = self.oracle.config.eos_token_id
        forced = getattr(self.oracle.config, "forced_bos_token_id", None)
        self.num_begin = 1 + (forced is not None)

    def reference(self, text: Sequence[int], **fields: Any) -> list[int]:
        """transformers' answer, without what the decoder begins with and without the end."""
        (ids,) = self.oracle.generate(
            torch.tensor([text]),
            max_new_tokens=NEW + self.num_begin - 1,
            do_sample=False,
            **{"num_beams": 1, **fields},
        )
        return ended(ids.tolist()[self.num_begin :], self.eos)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Pair]:
    pair = Pair(tmp_path_factory.mktemp(request.param), request.param)
    yield pair
    pair.engine.close()


def ended(ids: Sequence[int], eos: int) -> list[int]:
    """Without the end token and what stands behind it."""
    listed = list(ids)
    return listed[: listed.index(eos)] if eos in listed else listed


def texts(eos: int, lengths: Sequence[int] = LENGTHS) -> list[tuple[int, ...]]:
    draw = np.random.default_rng(5)
    return [(*draw.integers(4, 55, length - 1).tolist(), eos) for length in lengths]


def answers(
    engine: Engine, prompts: Sequence[tuple[int, ...]], params: SamplingParams, **fields: Any
) -> list[list[Update]]:
    """The updates of each prompt; all run together."""
    updates: queue.Queue[Update] = queue.Queue()
    for index, prompt in enumerate(prompts):
        request = Request(request_id=str(index), prompt_token_ids=prompt, params=params, **fields)
        engine.submit(request, updates.put)
    found: list[list[Update]] = [[] for _ in prompts]
    num_unfinished = len(prompts)
    while num_unfinished:
        update = updates.get(timeout=120)
        if update.error is not None:
            raise update.error
        found[int(update.request_id)].append(update)
        num_unfinished -= update.is_last
    return found


def tokens(engine: Engine, prompts: Sequence[tuple[int, ...]], **fields: Any) -> list[list[int]]:
    eos = engine.plan.eos_token_ids[0]
    params = SamplingParams(max_tokens=NEW, temperature=0.0, **fields)
    return [
        ended([i for update in updates for i in update.token_ids], eos)
        for updates in answers(engine, prompts, params)
    ]


@pytest.mark.parametrize("fields", [{}, {"no_repeat_ngram_size": 2}], ids=str)
def test_greedy_answers_are_those_of_transformers(pair: Pair, fields: dict[str, int]) -> None:
    prompts = texts(pair.eos)
    expected = [pair.reference(prompt, **fields) for prompt in prompts]
    assert tokens(pair.engine, prompts, **fields) == expected
    assert len({tuple(answer) for answer in expected}) > len(prompts) // 2, "texts do not matter"
    if fields:
        assert len({token for answer in expected for token in answer}) > 6, "answers are constant"


@pytest.mark.parametrize(
    "fields",
    [
        {"num_beams": 3, "length_penalty": 2.0},
        {"num_beams": 2, "length_penalty": 0.3, "early_stopping": True, "no_repeat_ngram_size": 2},
    ],
    ids=str,
)
def test_beams_are_those_of_transformers(pair: Pair, fields: dict[str, Any]) -> None:
    prompts = texts(pair.eos, (9, 33))
    expected = [pair.reference(prompt, **fields) for prompt in prompts]
    own = {("beam_width" if n == "num_beams" else n): value for n, value in fields.items()}
    assert tokens(pair.engine, prompts, **own) == expected
    last = pair.engine.step_log()[-4:]
    assert all(step.num_prefill_tokens <= step.num_sequences for step in last), "beams recompute"


def test_a_step_has_answers_at_any_point(pair: Pair) -> None:
    """Texts come while others are answered; two answers to one text share what is encoded."""
    prompts = texts(pair.eos, (33, 9))
    expected = [pair.reference(prompt) for prompt in prompts]
    updates: queue.Queue[Update] = queue.Queue()
    params = SamplingParams(max_tokens=NEW, temperature=0.0)
    order = [0, 1, 0]
    found: list[list[int]] = [[] for _ in order]
    num_unfinished = len(order)
    for number, index in enumerate(order):
        request = Request(request_id=str(number), prompt_token_ids=prompts[index], params=params)
        pair.engine.submit(request, updates.put)
        update = updates.get(timeout=60)  # at least a token of what runs, then the next text
        found[int(update.request_id)] += update.token_ids
        num_unfinished -= update.is_last
    while num_unfinished:
        update = updates.get(timeout=60)
        found[int(update.request_id)] += update.token_ids
        num_unfinished -= update.is_last
    assert [ended(ids, pair.eos) for ids in found] == [expected[index] for index in order]


def test_values_are_those_of_transformers(pair: Pair) -> None:
    """The logits of each step, over the tokens that were chosen before it."""
    for prompt in texts(pair.eos, (9,)):
        params = SamplingParams(max_tokens=NEW, temperature=0.0, ignore_eos=True)
        (updates,) = answers(pair.engine, [prompt], params, wants_logits=True)
        logits = np.stack([row for update in updates for row in update.logits])
        answer = [i for update in updates for i in update.token_ids]
        begin = _begin(pair)
        with torch.no_grad():
            expected = pair.oracle(
                input_ids=torch.tensor([prompt]),
                decoder_input_ids=torch.tensor([[*begin, *answer[:-1]]]),
            ).logits[0, len(begin) - 1 :]
        largest = float(expected.abs().max())
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-3 * largest)


def _begin(pair: Pair) -> list[int]:
    config = pair.oracle.config
    forced = getattr(config, "forced_bos_token_id", None)
    start = pair.oracle.generation_config.decoder_start_token_id
    return [start, *([] if forced is None else [forced])]
