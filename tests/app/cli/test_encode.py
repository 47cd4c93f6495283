"""The commands of encoders print what LLM gives, a line of JSON for each text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
from encoder_networks import write_encoder
from llmasos import LLM
from llmasos_app.cli.app import app
from llmasos_builder.build import BuildOptions, build
from typer.testing import CliRunner


def lines(*arguments: str, stdin: str = "") -> list[Any]:
    result = CliRunner().invoke(app, [*arguments, "--threads", "1"], input=stdin)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def model(tmp_path: Path, suffix: str, **changes: Any) -> str:
    write_encoder(tmp_path / suffix, "Bert", suffix, **changes)
    return str(build(tmp_path / suffix, tmp_path / "built", BuildOptions(precision="f32")))


def test_vectors_are_lists(tmp_path: Path) -> None:
    built = model(tmp_path, "Model")
    found = lines("embed", "--model", built, "--dimensions", "8", stdin="the fox\nrain\n")
    with LLM(built, num_threads=1) as llm:
        np.testing.assert_allclose(found, llm.embed(["the fox", "rain"], dimensions=8), atol=1e-6)


def test_documents_come_in_order(tmp_path: Path) -> None:
    built = model(tmp_path, "ForSequenceClassification", num_labels=1)
    found = lines("rerank", "--model", built, "--top-n", "2", "fox", "rain", "a fox", "spain")
    with LLM(built, num_threads=1) as llm:
        expected = llm.rerank("fox", ["rain", "a fox", "spain"], top_n=2)
    assert [one["index"] for one in found] == [one.index for one in expected]
    (labelled, _) = lines("classify", "--model", built, "rain", "fox")
    assert set(labelled) == {"label", "score", "scores"}


def test_gaps_and_tokens_are_objects(tmp_path: Path) -> None:
    built = model(tmp_path, "ForMaskedLM")
    ((gap,),) = lines("fill-mask", "--model", built, "--top-k", "2", "the [MASK]")
    assert [set(token) for token in gap] == [{"token", "token_id", "score", "text"}] * 2
