"""A decoder with sentence-transformers' modules makes vectors, as its own network would."""

from __future__ import annotations

from pathlib import Path

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from encoder_networks import write_modules, write_word_tokenizer
from llmasos import LLM
from llmasos.engine.plan import EnginePlan
from llmasos_builder.build import BuildOptions, build_plan
from transformers import MistralConfig, MistralModel, Qwen3Config, Qwen3Model

TEXTS = ["the rain in spain", "a fox", "a fox jumps on the plain in the rain"]
SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 96,
}


@pytest.mark.parametrize(
    ("kind", "config"),
    [(Qwen3Model, Qwen3Config(**SIZES)), (MistralModel, MistralConfig(**SIZES, sliding_window=4))],
)
@pytest.mark.parametrize("pooling", ["lasttoken", "mean_tokens", "max_tokens", "cls_token"])
def test_its_vectors_are_those_of_transformers(
    tmp_path: Path, kind: type[Qwen3Model], config: Qwen3Config, pooling: str
) -> None:
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    network = kind(config).eval().float()
    network.save_pretrained(tmp_path / "checkpoint")
    write_word_tokenizer(tmp_path / "checkpoint")
    write_modules(tmp_path / "checkpoint", pooling=pooling, prompts={"query": "the "})
    options = BuildOptions(precision="f32")
    plan = build_plan(tmp_path / "checkpoint", tmp_path / "plan", options)
    assert (plan.task, plan.num_layers) == ("embed", 0)
    with LLM(tmp_path / "plan", num_threads=1) as llm:
        found = llm.embed(TEXTS)
        prompted = llm.embed(TEXTS[1:2], prompt_name="query")
        assert np.array_equal(prompted, llm.embed(["the a fox"]))
        tokenizer_ids = [llm._encoding._encoder.encode([t], truncate=False) for t in TEXTS]  # type: ignore[attr-defined]
    for vector, (encoded,) in zip(found, tokenizer_ids, strict=True):
        with torch.no_grad():
            hidden = network(torch.tensor([encoded.token_ids])).last_hidden_state[0]
        pooled = (
            {
                "lasttoken": hidden[-1],
                "mean_tokens": hidden.mean(0),
                "max_tokens": hidden.max(0).values,
                "cls_token": hidden[0],
            }[pooling]
            .double()
            .numpy()
        )
        np.testing.assert_allclose(vector, pooled / np.linalg.norm(pooled), atol=2e-5)
    assert EnginePlan.load(tmp_path / "plan").encoder is not None
