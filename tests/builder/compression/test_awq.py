"""AWQ: the scaled network is the same, and loses less when it is rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llmasos.errors import InvalidRequestError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.architectures import network_of
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.compression.awq import activation_aware
from llmasos_builder.compression.calibration import CalibrationOptions, calibration_windows
from llmasos_builder.compression.fold_sites import fold_sites
from llmasos_builder.compression.formats import format_of
from llmasos_builder.compression.integer_codes import IntegerFormat
from llmasos_builder.compression.layer_matrices import layer_matrices
from llmasos_builder.compression.quantize import quantize
from llmasos_builder.compression.quantize_options import Method, QuantizeOptions
from llmasos_builder.compression.streaming import stream
from llmasos_builder.graph import Array
from safetensors.numpy import load_file, save_file
from tiny import write_tiny_gemma2, write_tiny_llama

STORED = IntegerFormat(bits=4, group_size=64)
WINDOWS = np.random.default_rng(0).integers(32, 120, (4, 32))

CALIBRATION = CalibrationOptions(samples=8, seq_length=32)


def ignore(stage: str, done: int, total: int) -> None:
    """Ignores progress reports."""


def with_large_inputs(directory: Path) -> Path:
    """A tiny Llama some of whose norms' weights are large, as those of trained models are."""
    write_tiny_llama(directory)
    tensors = load_file(directory / "model.safetensors")
    for name, values in tensors.items():
        if name.endswith("layernorm.weight"):
            values[::16] *= 12
    save_file(tensors, directory / "model.safetensors")
    return directory


def hidden_of(directory: Path) -> Array:
    """Over the calibration text: other tokens of a random network have other inputs."""
    checkpoint = open_checkpoint(directory)
    windows = calibration_windows(Tokenizer.load(directory), CALIBRATION)
    return stream(network_of(checkpoint.config), checkpoint.weights, windows).hidden


def test_the_scaled_network_computes_the_same_before_it_is_rounded(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(with_large_inputs(tmp_path))
    network, weights = network_of(checkpoint.config), checkpoint.weights
    orders = layer_matrices(network)
    sites = fold_sites(network, orders, list(orders))
    assert len(sites) == 6  # in each layer both norms, and up_proj for down_proj
    scaled = activation_aware(
        network, weights, WINDOWS, sites, STORED, scale_type=np.float16, progress=ignore
    )
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not np.allclose(scaled.load(name), weights.load(name))
    norm = scaled.load("model.layers.0.input_layernorm.weight")
    np.testing.assert_allclose(norm.astype(np.float16).astype(np.float32), norm, rtol=1e-6)
    found, exact = (stream(network, w, WINDOWS).hidden for w in (scaled, weights))
    np.testing.assert_allclose(found, exact, atol=1e-4 * np.abs(exact).max())


def test_awq_loses_less_than_rounding_to_nearest(tmp_path: Path) -> None:
    exact = hidden_of(with_large_inputs(tmp_path / "dense"))
    errors: dict[str, float] = {}
    methods: tuple[Method, ...] = ("rtn", "awq", "awq+gptq")
    for method in methods:
        options = QuantizeOptions(
            format=format_of("W4A16"),
            method=method,
            calibration=CALIBRATION,
        )
        quantize(open_checkpoint(tmp_path / "dense"), tmp_path / method, options, ignore)
        errors[method] = float(np.square(hidden_of(tmp_path / method) - exact).mean())
    assert errors["awq"] < 0.9 * errors["rtn"]
    assert errors["awq+gptq"] < 0.9 * errors["rtn"]


def test_norms_with_an_offset_and_ignored_matrices_are_left_alone(tmp_path: Path) -> None:
    network = network_of(open_checkpoint(write_tiny_gemma2(tmp_path / "gemma", cap=None)).config)
    orders = layer_matrices(network)
    assert not any(site.is_norm for site in fold_sites(network, orders, list(orders)))
    network = network_of(open_checkpoint(write_tiny_llama(tmp_path / "llama")).config)
    orders = layer_matrices(network)
    chosen = [name for name in orders if "q_proj" not in name and "down_proj" not in name]
    sources = [site.sources[0] for site in fold_sites(network, orders, chosen)]
    assert sources == [f"model.layers.{i}.post_attention_layernorm.weight" for i in range(2)]


@pytest.mark.parametrize("budget", [3.9, 8.1, float("nan")])
def test_a_budget_outside_4_to_8_is_refused(budget: float) -> None:
    with pytest.raises(InvalidRequestError, match=f"bits-budget is {budget:g}, must be from 4 to"):
        QuantizeOptions(format=format_of("W4A16"), bits_budget=budget)


def test_awq_is_refused_for_fp8() -> None:
    with pytest.raises(InvalidRequestError, match="method awq is for integers, and format is FP8"):
        QuantizeOptions(format=format_of("FP8"), method="awq")
