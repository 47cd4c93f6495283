"""Structured pruning of MLPs, against the dense network with neurons set to zero."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from llmasos.errors import CheckpointError, InvalidRequestError, LLMasOSError
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.graph.reference import ReferenceGraph, Wide
from llmasos_builder.pruning.prune import prune
from llmasos_builder.pruning.sizes import PruneOptions, Sizes
from safetensors.numpy import load_file, save_file
from tiny import write_tiny_llama

TEXT = "The quick brown fox jumps over the lazy dog. " * 4
OPTIONS = PruneOptions(mlp_width=0.75, num_windows=2, seq_length=32)


def ignore(stage: str, done: int, total: int) -> None:
    """Ignores progress reports."""


def pruned(directory: Path, output: Path, *, text: str = TEXT) -> Sizes:
    return prune(open_checkpoint(directory), text, output, OPTIONS, ignore)


def silence(directory: Path, neurons: list[int]) -> None:
    """Let the up projections of these neurons give zero, so that they add nothing."""
    path = directory / "model.safetensors"
    weights = load_file(path)
    for name, values in weights.items():
        if name.endswith("up_proj.weight"):
            values[neurons] = 0
    save_file(weights, path)


def logits(directory: Path) -> Wide:
    checkpoint = open_checkpoint(directory)
    graph = ReferenceGraph(np.arange(24)[None])
    decoder_spec(checkpoint.config).define(
        graph, lambda n, _: load_tensor(checkpoint.weights, n), precision="f32"
    )
    return graph.logits


def test_leaving_out_neurons_that_add_nothing_changes_no_logit(tmp_path: Path) -> None:
    dense = write_tiny_llama(tmp_path / "dense", inner=256)
    silence(dense, list(range(3, 256, 4)))
    assert pruned(dense, tmp_path / "out").width == 192
    assert json.loads((tmp_path / "out/config.json").read_text())["intermediate_size"] == 192
    np.testing.assert_allclose(logits(tmp_path / "out"), logits(dense), atol=1e-9)


def test_a_dataset_that_is_too_short_leaves_nothing_behind(tmp_path: Path) -> None:
    dense = write_tiny_llama(tmp_path / "dense", inner=256)
    with pytest.raises(InvalidRequestError, match="has 2 tokens, 2 samples of 32 need 64"):
        pruned(dense, tmp_path / "out", text="ab")
    assert [path.name for path in tmp_path.iterdir()] == ["dense"]


def test_a_weight_that_is_not_a_number_is_refused_by_its_layer(tmp_path: Path) -> None:
    dense = write_tiny_llama(tmp_path / "dense", inner=256)
    weights = load_file(dense / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0] = np.nan
    save_file(weights, dense / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj"):
        pruned(dense, tmp_path / "out")


@pytest.mark.parametrize("keep", [0.0, 1.0, -0.5])
def test_a_part_that_is_none_is_refused(keep: float) -> None:
    with pytest.raises(LLMasOSError, match="above 0% and below 100%"):
        PruneOptions(mlp_width=keep)
