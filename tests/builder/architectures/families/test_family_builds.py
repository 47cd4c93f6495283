"""Checkpoints of the wider family, built and run: from text to transformers' own tokens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from family_networks import FAMILY_NETWORKS, SOFT_CAPPED_NETWORKS
from llmasos import LLM, SamplingParams
from llmasos.errors import InvalidRequestError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.build import BuildOptions, build_plan
from parity import Network, make_network

PROMPT = "The capital of France is " * 8  # longer than a window of 20
NEW_TOKENS = 16
SOFT_CAPPED = "gemma2-32-gqa-capped"
WINDOWED = ("mistral-32-mha-window", "gemma2-32-gqa-tied", "bloom-16-untied")


def checkpoint(directory: Path, name: str, tokenizer: Path) -> Network:
    kind, config = (FAMILY_NETWORKS | SOFT_CAPPED_NETWORKS)[name]
    network = make_network(directory, config, kind=kind)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / file, directory / file)
    return network


@pytest.mark.parametrize(
    "name",
    [
        "opt-16-projected-norm-last",
        "gpt_neox-80-tied-bare",
        "gemma3-32-gqa-tied",
        SOFT_CAPPED,
        *WINDOWED,
    ],
)
def test_an_engine_generates_what_transformers_does(
    name: str, tiny_llama: Path, tmp_path: Path
) -> None:
    network = checkpoint(tmp_path / "checkpoint", name, tiny_llama)
    build_plan(tmp_path / "checkpoint", tmp_path / "plan", BuildOptions(precision="f32"))
    with LLM(tmp_path / "plan") as llm:
        greedy = SamplingParams(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
        (generation,) = llm.generate([PROMPT], greedy)
    token_ids = list(Tokenizer.load(tmp_path / "checkpoint").encode(PROMPT))
    for token in generation.token_ids:
        assert token == network.logits(token_ids)[-1].argmax()
        token_ids.append(token)
    assert len(generation.token_ids) == NEW_TOKENS


def test_a_sequence_may_be_longer_than_the_window(tiny_llama: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint", "mistral-32-mha-window", tiny_llama)
    with pytest.raises(InvalidRequestError, match=r"max_seq_len must be at most 256.* got 257"):
        build_plan(tmp_path / "checkpoint", tmp_path / "plan", BuildOptions(max_seq_len=257))
    plan = build_plan(tmp_path / "checkpoint", tmp_path / "plan")
    assert plan.limits.max_seq_len == 256


def test_a_soft_capped_openvino_engine_keeps_no_cache_in_u8(
    tiny_llama: Path, tmp_path: Path
) -> None:
    checkpoint(tmp_path / "checkpoint", SOFT_CAPPED, tiny_llama)
    options = BuildOptions(target="openvino")
    plan = build_plan(tmp_path / "checkpoint", tmp_path / "plan", options)
    assert (plan.precision, plan.kv_cache_precision) == ("int8", "bf16")
    options = BuildOptions(target="openvino", kv_cache_precision="u8")
    with pytest.raises(
        InvalidRequestError,
        match=r"kv_cache_precision must be f32 or bf16, for attn_logit_softcapping is 1\.0, got",
    ):
        build_plan(tmp_path / "checkpoint", tmp_path / "u8", options)
    assert not (tmp_path / "u8").exists()
