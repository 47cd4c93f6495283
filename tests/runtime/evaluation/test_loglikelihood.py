"""Continuations are scored token by token of a text, and the harness gets them as it asks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_harness import load_model, request
from fake_triton import PIECES, fake_grpc
from llmasos import LLM
from llmasos.errors import EngineStoppedError, InvalidRequestError
from llmasos.sampling import SamplingParams
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.evaluation.forward import PackedForward, Part, load_forward
from llmasos_runtime.evaluation.loglikelihood import Scorer
from llmasos_runtime.evaluation.measures import log_softmax
from numpy.typing import NDArray
from tiny import SPECIAL_TOKENS, begin_texts

TEXT = [(7 * i * i + 3 * i) % 250 for i in range(200)]
LIMIT = 48


def ignore(stage: str, done: int, total: int) -> None:
    """Reports to nobody."""


@pytest.fixture(scope="module")
def plan(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "plan"
    build_plan(tiny_llama, path, BuildOptions(precision="f32", max_seq_len=LIMIT))
    return path


@pytest.fixture(scope="module")
def scorer(plan: Path) -> Scorer:
    return Scorer(plan, num_threads=1)


def alone(plan: Path, tokens: list[int], first: int) -> float:
    """The log-probability of the tokens from the first on, by one forward."""
    forward = load_forward(plan, slot_tokens=LIMIT, num_threads=1)
    part = Part(slot=0, past=0, token_ids=tuple(tokens[:-1]), wanted=0)
    rows = log_softmax(forward.run([part])[0])
    return float(sum(rows[i - 1, tokens[i]] for i in range(first, len(tokens))))


def test_each_pair_gets_the_score_of_its_continuation(plan: Path, scorer: Scorer) -> None:
    pairs = [(TEXT[a : a + 5 + a], TEXT[150 : 151 + a]) for a in range(9)]
    found = scorer.score(pairs, ignore)
    for (context, continuation), (score, _) in zip(pairs, found, strict=True):
        expected = alone(plan, [*context, *continuation], len(context))
        assert score == pytest.approx(expected, rel=1e-5)


def test_greedy_is_said_of_what_the_engine_itself_would_answer(plan: Path, scorer: Scorer) -> None:
    context = TEXT[:10]
    forward = load_forward(plan, slot_tokens=LIMIT, num_threads=1)
    answer: list[int] = []
    for _ in range(4):
        tokens = tuple(context + answer)
        rows = forward.run([Part(slot=0, past=0, token_ids=tokens, wanted=len(tokens) - 1)])[0]
        answer.append(int(rows[0].argmax()))
    other = [*answer[:3], (answer[3] + 1) % 250]
    found = scorer.score([(context, answer), (context, other), (context, [])], ignore)
    assert [is_greedy for _, is_greedy in found] == [True, False, True]
    assert found[2] == (0.0, True)


def test_a_context_that_is_too_long_loses_its_beginning(plan: Path, scorer: Scorer) -> None:
    [(score, _)] = scorer.score([(TEXT[:100], TEXT[100:104])], ignore)
    assert score == pytest.approx(alone(plan, TEXT[103 - LIMIT : 104], LIMIT - 3), rel=1e-5)


def test_a_whole_text_is_predicted_once_in_windows_of_which_the_last_is_full(
    plan: Path, scorer: Scorer
) -> None:
    tokens = [256, *TEXT[:110]]
    expected = alone(plan, tokens[:49], 1)
    expected += alone(plan, tokens[48:97], 1)
    expected += alone(plan, tokens[111 - 49 : 111], 49 - 14)
    short = alone(plan, [256, *TEXT[:7]], 1)
    found = scorer.score_texts([TEXT[:7], TEXT[:110], [], TEXT[:7]], 256, ignore)
    assert found == pytest.approx([short, expected, 0.0, short], rel=1e-5)


def test_texts_share_forwards(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    forwards: list[int] = []
    run = PackedForward.run

    def counted(self: PackedForward, parts: Sequence[Part]) -> list[NDArray[np.float32]]:
        forwards.append(len(parts))
        return run(self, parts)

    monkeypatch.setattr(PackedForward, "run", counted)
    scorer.score_texts([TEXT[at : at + 20] for at in range(12)], 256, ignore)
    assert forwards == [12]


@pytest.fixture
def model_class(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_model(monkeypatch)


def test_the_harness_gets_scores_and_texts(plan: Path, scorer: Scorer, model_class: Any) -> None:
    model = model_class(str(plan), threads="1", batch_size=1, device=None)
    tokenizer = Tokenizer.load(plan)
    context, continuation = tokenizer.encode("a b c"), tokenizer.encode(" d")
    assert model.tok_encode("a b c") == context
    assert model.prefix_token_id == 256
    scores = model._loglikelihood_tokens([(("a b c", " d"), context, continuation)])
    assert scores == scorer.score([(context, continuation)], ignore)
    wholes = model.loglikelihood_rolling([request("a b c"), request("d")])
    texts = [context, tokenizer.encode("d")]
    assert wholes == pytest.approx(scorer.score_texts(texts, 256, ignore))
    asked = {"until": ["\n"], "max_gen_toks": 5, "temperature": 0.9, "do_sample": False}
    with LLM(plan, num_threads=1) as llm:
        expected = llm.generate_text("a b c", max_tokens=5, stop=("\n",))
        assert model.generate_until([request("a b c", asked)]) == [expected]
    long = "x y z " * 40
    assert len(model.generate_until([request(long, asked)])) == 1


def test_a_cut_prompt_keeps_its_special_tokens_and_leaves_room_for_its_answer(
    plan: Path, model_class: Any
) -> None:
    model = model_class(str(plan))
    end = SPECIAL_TOKENS[-1] + "a"
    cut = model._cut("x y z " * 40 + end, SamplingParams(max_tokens=LIMIT - 2))
    assert cut == Tokenizer.load(plan).encode(end)
    for max_tokens in (LIMIT, 32768):
        message = f"max_gen_toks must be below the plan's max_seq_len of {LIMIT}, got {max_tokens}"
        with pytest.raises(InvalidRequestError, match=message):
            model.generate_until([request("a", {"max_gen_toks": max_tokens})])


def test_a_server_gets_texts_that_become_the_harness_tokens(
    tiny_llama: Path, tmp_path: Path, model_class: Any
) -> None:
    shutil.copytree(tiny_llama, tmp_path / "checkpoint")
    begin_texts(tmp_path / "checkpoint")
    build_plan(tmp_path / "checkpoint", tmp_path / "plan", BuildOptions(precision="f32"))
    texts = ["a", SPECIAL_TOKENS[0] + "b", "c"]
    with fake_grpc() as triton:
        model = model_class(str(tmp_path / "plan"), url=triton.url)
        answers = model.generate_until([request(text, {"max_gen_toks": 3}) for text in texts])
    assert answers == ["".join(PIECES)] * 3
    sent = {r["text_input"]: r.get("add_special_tokens", True) for r in triton.asked()}
    assert sent == {texts[0]: True, texts[1]: False, texts[2]: True}


def test_a_server_that_is_not_there_is_missed_before_anything_is_scored(
    plan: Path, model_class: Any
) -> None:
    with pytest.raises(EngineStoppedError, match=r"no server is ready at grpc://localhost:1;"):
        model_class(str(plan), url="grpc://localhost:1")


def test_a_continuation_that_does_not_fit_is_refused(scorer: Scorer) -> None:
    scorer.score([(TEXT[:1], TEXT[1 : LIMIT + 1])], ignore)
    with pytest.raises(InvalidRequestError, match=f"has {LIMIT + 1} tokens, at most {LIMIT}"):
        scorer.score([(TEXT[:1], TEXT[1 : LIMIT + 2])], ignore)


def test_scores_are_sums_of_float64(scorer: Scorer) -> None:
    [(score, _)] = scorer.score([(TEXT[:4], TEXT[4:40])], ignore)
    parts = [scorer.score([(TEXT[:i], TEXT[i : i + 1])], ignore)[0][0] for i in range(4, 40)]
    assert score == pytest.approx(float(np.sum(parts)), rel=1e-6)
