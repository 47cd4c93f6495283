"""Heads and layers that are left out, against the dense network in which they add nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from llmasos.errors import InvalidRequestError
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.graph.reference import ReferenceGraph, Wide
from llmasos_builder.pruning.prune import prune
from llmasos_builder.pruning.sizes import PruneOptions, Sizes
from safetensors.numpy import load_file, save_file
from tiny import write_tiny_llama

TEXT = "The quick brown fox jumps over the lazy dog. " * 4


def ignore(stage: str, done: int, total: int) -> None:
    """Ignores progress reports."""


def pruned(
    directory: Path,
    output: Path,
    *,
    kv_heads: float | None = None,
    layers: float | None = None,
    keep_params: float | None = None,
) -> Sizes:
    options = PruneOptions(
        kv_heads=kv_heads, layers=layers, keep_params=keep_params, num_windows=2, seq_length=32
    )
    return prune(open_checkpoint(directory), TEXT, output, options, ignore)


def logits(directory: Path) -> Wide:
    checkpoint = open_checkpoint(directory)
    graph = ReferenceGraph(np.arange(24)[None])
    decoder_spec(checkpoint.config).define(
        graph, lambda n, _: load_tensor(checkpoint.weights, n), precision="f32"
    )
    return graph.logits


def test_leaving_out_heads_that_add_nothing_changes_no_logit(tmp_path: Path) -> None:
    dense = write_tiny_llama(tmp_path / "dense")
    weights = load_file(dense / "model.safetensors")
    for layer, group in enumerate((0, 1)):  # another group in each layer
        weights[f"model.layers.{layer}.self_attn.o_proj.weight"][:, group * 32 :][:, :32] = 0
    save_file(weights, dense / "model.safetensors")
    made = pruned(dense, tmp_path / "out", kv_heads=0.5)
    assert (made.num_heads, made.num_kv_heads) == (2, 1)
    np.testing.assert_allclose(logits(tmp_path / "out"), logits(dense), atol=1e-9)


def test_leaving_out_layers_that_add_nothing_changes_no_logit(tmp_path: Path) -> None:
    dense = write_tiny_llama(tmp_path / "dense", layers=4)
    weights = load_file(dense / "model.safetensors")
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        for layer in (0, 2):
            weights[f"model.layers.{layer}.{name}.weight"][:] = 0
    save_file(weights, dense / "model.safetensors")
    assert pruned(dense, tmp_path / "out", layers=0.5).num_layers == 2
    assert json.loads((tmp_path / "out/config.json").read_text())["num_hidden_layers"] == 2
    np.testing.assert_allclose(logits(tmp_path / "out"), logits(dense), atol=1e-9)


@pytest.mark.parametrize("layers", [None, 0.75])
def test_parameters_come_down_to_the_target_with_widths_that_kernels_like(
    tmp_path: Path, layers: float | None
) -> None:
    dense = write_tiny_llama(tmp_path / "dense", layers=4, inner=512)
    full = sum(v.size for v in load_file(dense / "model.safetensors").values())
    made = pruned(dense, tmp_path / "out", layers=layers, keep_params=0.7)
    left = sum(v.size for v in load_file(tmp_path / "out/model.safetensors").values())
    assert made.num_params == left <= 0.7 * full
    assert made.width % 64 == 0
    assert left + 64 * 3 * 64 * made.num_layers > 0.7 * full, "no narrower than it takes"


def test_a_target_that_narrow_mlps_cannot_reach_is_refused(tmp_path: Path) -> None:
    dense = write_tiny_llama(tmp_path / "dense", inner=256)
    with pytest.raises(InvalidRequestError, match="keep-params is 10%, MLPs of 64 still have"):
        pruned(dense, tmp_path / "out", keep_params=0.1)


def test_parts_that_round_to_everything_are_refused(tmp_path: Path) -> None:
    dense = write_tiny_llama(tmp_path / "dense")
    with pytest.raises(InvalidRequestError, match="kv-heads: 90% of 2 rounds to 2"):
        pruned(dense, tmp_path / "out", kv_heads=0.9)


def test_options_that_say_nothing_or_too_much_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="nothing is pruned without"):
        PruneOptions()
    with pytest.raises(InvalidRequestError, match="keep-params chooses the mlp-width"):
        PruneOptions(mlp_width=0.5, keep_params=0.5)
