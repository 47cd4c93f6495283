"""What LLM makes of whole texts is what transformers' pipelines make of them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from encoder_networks import write_encoder, write_modules
from llmasos import LLM, AsyncLLM
from llmasos.errors import DeadlineExceededError, EngineStoppedError, InvalidRequestError
from llmasos_builder.build import BuildOptions, build_plan
from transformers import AutoTokenizer, pipeline

TEXTS = ["the rain in spain", "a fox jumps", "the rain in spain stays mainly on the plain", "fox"]
LABELS = {0: "O", 1: "B-LOC", 2: "I-LOC", 3: "B-PER"}


def built(tmp_path: Path, suffix: str, family: str = "Bert", **changes: Any) -> tuple[Any, LLM]:
    network = write_encoder(tmp_path / "checkpoint", family, suffix, **changes)
    build_plan(tmp_path / "checkpoint", tmp_path / "plan", BuildOptions(precision="f32"))
    return network, LLM(tmp_path / "plan", num_threads=1)


def pipe(task: str, network: Any, tmp_path: Path, **options: Any) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "checkpoint")
    return pipeline(task, model=network, tokenizer=tokenizer, device="cpu", **options)


def test_labels_and_scores_are_those_of_the_pipeline(tmp_path: Path) -> None:
    network, llm = built(tmp_path, "ForSequenceClassification", id2label=LABELS)
    expected = pipe("text-classification", network, tmp_path, top_k=None)(TEXTS)
    with llm:
        found = llm.classify(TEXTS)
    for one, scores in zip(found, expected, strict=True):
        wanted = {s["label"]: s["score"] for s in scores}
        assert one.scores == pytest.approx(wanted, abs=1e-5)
        assert one.label == max(wanted, key=wanted.__getitem__)
        assert one.score == one.scores[one.label]


def test_documents_are_ranked_by_the_score_of_their_pair(tmp_path: Path) -> None:
    network, llm = built(tmp_path, "ForSequenceClassification", num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "checkpoint")
    inputs = tokenizer([TEXTS[1]] * 4, TEXTS, padding=True, return_tensors="pt")
    inputs["token_type_ids"] = torch.tensor(
        [one.type_ids for one in inputs.encodings], dtype=torch.long
    )
    with torch.no_grad():
        expected = torch.sigmoid(network(**inputs).logits[:, 0]).tolist()
    with llm:
        found = llm.rerank(TEXTS[1], TEXTS)
        best = llm.rerank(TEXTS[1], TEXTS, top_n=2)
        with pytest.raises(InvalidRequestError, match="top_n must be an integer of at least 1"):
            llm.rerank("a", ["b"], top_n=0)
        assert llm.rerank("a", []) == []
    assert {one.index: one.score for one in found} == pytest.approx(
        dict(enumerate(expected)), abs=1e-5
    )
    assert [one.score for one in found] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)
    assert best == found[:2]
    assert [one.document for one in found] == [TEXTS[one.index] for one in found]


@pytest.mark.parametrize("aggregation", ["none", "simple"])
def test_labelled_spans_are_those_of_the_pipeline(tmp_path: Path, aggregation: Any) -> None:
    network, llm = built(tmp_path, "ForTokenClassification", id2label=LABELS)
    ask = pipe("ner", network, tmp_path, aggregation_strategy=aggregation, ignore_labels=["O"])
    expected = ask(TEXTS)
    with llm:
        found = llm.classify_tokens(TEXTS, aggregation=aggregation)
    key = "entity" if aggregation == "none" else "entity_group"
    for spans, wanted in zip(found, expected, strict=True):
        kept = [span for span in spans if span.label != "O"]
        assert [(s.label, s.start, s.end) for s in kept] == [
            (w[key], w["start"], w["end"]) for w in wanted
        ]
        assert [s.score for s in kept] == pytest.approx([w["score"] for w in wanted], abs=1e-5)


def test_gaps_are_filled_as_by_the_pipeline(tmp_path: Path) -> None:
    network, llm = built(tmp_path, "ForMaskedLM")
    texts = ["the [MASK] in spain", "[MASK] fox [MASK] on the plain"]
    expected = pipe("fill-mask", network, tmp_path, top_k=3)(texts)
    with llm:
        found = llm.fill_mask(texts, top_k=3)
        with pytest.raises(InvalidRequestError, match="text 1 has no mask token"):
            llm.fill_mask(["[MASK]", "fox"])
        with pytest.raises(InvalidRequestError, match="top_k must be an integer from 1 to 64"):
            llm.fill_mask(texts, top_k=65)
    for gaps, wanted in zip(found, [[expected[0]], expected[1]], strict=True):
        for tokens, candidates in zip(gaps, wanted, strict=True):
            assert [t.token_id for t in tokens] == [c["token"] for c in candidates]
            assert [t.score for t in tokens] == pytest.approx(
                [c["score"] for c in candidates], abs=1e-5
            )


def test_vectors_are_the_same_in_any_company(tmp_path: Path) -> None:
    write_encoder(tmp_path / "checkpoint", "MPNet")
    write_modules(
        tmp_path / "checkpoint",
        pooling="mean_tokens",
        prompts={"query": "the "},
        default_prompt_name="query",
    )
    build_plan(tmp_path / "checkpoint", tmp_path / "plan", BuildOptions(precision="f32"))
    many = [" ".join(["rain"] * (1 + i * 7 % 60)) for i in range(300)]

    async def ask() -> Any:
        async with await AsyncLLM.load(tmp_path / "plan", num_threads=1) as llm:
            return await asyncio.gather(*(llm.embed([text]) for text in many[:20]))

    with LLM(tmp_path / "plan", num_threads=1) as llm:
        found = llm.embed(many)
        assert found.shape == (300, 64)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        for index in (0, 8, 299):
            np.testing.assert_allclose(llm.embed([many[index]])[0], found[index], atol=1e-5)
        plain = llm.embed(["the fox"], prompt="")
        np.testing.assert_allclose(plain, llm.embed(["fox"]), atol=1e-6)
        short = llm.embed(["fox"], dimensions=16)
        cut = llm.embed(["fox"])[:, :16]
        np.testing.assert_allclose(short, cut / np.linalg.norm(cut), atol=1e-6)
        assert llm.embed([]).shape == (0, 64)
    np.testing.assert_allclose(np.concatenate(asyncio.run(ask())), found[:20], atol=1e-5)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    _, llm = built(tmp_path, "Model")
    long = " ".join(["fox"] * 200)
    with llm:
        assert llm.embed([long], truncate=True).shape == (1, 64)
        for call, message in (
            (lambda: llm.embed([long]), "text 0 has 202 tokens, at most 96 fit"),
            (lambda: llm.embed("fox"), "texts must be a list, got str"),
            (lambda: llm.embed([5]), "text 0 must be a string, got int"),  # type: ignore[list-item]
            (lambda: llm.embed(["\ud800"]), "text 0 is not valid Unicode"),
            (lambda: llm.embed(["a"], dimensions=65), "dimensions must be an integer from 1 to 64"),
            (
                lambda: llm.embed(["a"], prompt_name="q"),
                "prompt_name 'q' is not one of the model's",
            ),
            (lambda: llm.embed(["a"], priority=101), "priority must be an integer from -100 to"),
            (lambda: llm.embed(["a"], deadline_ms=0), "deadline_ms must be an integer from 1 to"),
            (lambda: llm.classify(["a"]), "is built for the task embed, and the task asked of it"),
            (lambda: llm.generate_text("a"), "the task asked of it is generate"),
        ):
            with pytest.raises(InvalidRequestError, match=message):
                call()
        many = [f"{long[:300]} {i}" for i in range(2000)]
        with pytest.raises(DeadlineExceededError, match="deadline_ms of 1 passed"):
            llm.embed(many, deadline_ms=1, truncate=True)
        begun = time.monotonic()
        llm.embed(["fox"])
        assert time.monotonic() - begun < 5  # what was late is not computed
    with pytest.raises(EngineStoppedError):
        llm.embed(["fox"])
