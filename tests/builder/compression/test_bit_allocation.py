"""Which matrices get 8 bits, and what the mixed checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from llmasos.errors import InvalidRequestError
from llmasos_builder.architectures import network_of
from llmasos_builder.checkpoint import open_checkpoint, stored_bits_of
from llmasos_builder.compression.bit_allocation import matrices_in_8_bits, measured_costs
from llmasos_builder.compression.calibration import CalibrationOptions
from llmasos_builder.compression.divergence import divergence
from llmasos_builder.compression.formats import format_of
from llmasos_builder.compression.integer_codes import IntegerFormat
from llmasos_builder.compression.layer_matrices import layer_matrices, sharing_inputs
from llmasos_builder.compression.quantize import quantize
from llmasos_builder.compression.quantize_options import QuantizeOptions
from llmasos_builder.compression.streaming import stream
from tiny import write_tiny_llama

STORED = IntegerFormat(bits=4, group_size=64)
WINDOWS = np.random.default_rng(0).integers(32, 120, (2, 16))
SHAPES = {"a": (64, 64), "b": (64, 64), "c": (128, 64), "d": (64, 128)}
UNITS = {"a": "a", "b": "a", "c": "c", "d": "d"}
COSTS = {"a": 1.0, "b": 0.0, "c": 3.0, "d": 0.5}


def ignore(stage: str, done: int, total: int) -> None:
    """Ignores progress reports."""


def chosen(budget: float) -> set[str]:
    return set(matrices_in_8_bits(COSTS, SHAPES, UNITS, STORED, budget))


def test_what_costs_most_for_its_bits_gets_8_as_long_as_the_budget_lasts() -> None:
    """4.25 bits with their scales, 8.25 or 8.125 with those of rows; a third of weights each."""
    assert chosen(4.25) == set()
    assert chosen(5.6) == {"c"}
    assert chosen(6.95) == {"a", "b", "c"}
    assert chosen(8.3) == {"a", "b", "c", "d"}


def test_a_budget_that_4_bits_exceed_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"bits-budget is 4.2, and 4 bits with .* 4\.25"):
        chosen(4.2)


def test_the_costs_of_a_kind_are_what_the_network_loses_by_it(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_tiny_llama(tmp_path))
    network = network_of(checkpoint.config)
    names = list(layer_matrices(network))
    costs = measured_costs(network, checkpoint.weights, WINDOWS, names, STORED, progress=ignore)
    assert costs.keys() == set(names) and min(costs.values()) > 0
    exact = stream(network, checkpoint.weights, WINDOWS)
    assert divergence(exact, exact) == 0
    silent = stream(
        network,
        checkpoint.weights,
        WINDOWS,
        lambda name, _, w: np.zeros_like(w) if "down_proj" in name else w,
    )
    down = sum(cost for name, cost in costs.items() if "down_proj" in name)
    assert 0 < down < divergence(exact, silent)


def test_matrices_with_the_same_inputs_have_one_format(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_tiny_llama(tmp_path / "dense"))
    options = QuantizeOptions(
        format=format_of("W4A16"),
        bits_budget=6,
        calibration=CalibrationOptions(samples=4, seq_length=32),
    )
    written = quantize(checkpoint, tmp_path / "out", options, ignore)
    assert 5 < written.bits <= 6
    found = open_checkpoint(tmp_path / "out")
    bits = stored_bits_of(found.weights)
    assert set(bits.values()) == {4, 8}
    units = sharing_inputs(network_of(found.config))
    assert all(bits[name] == bits[units[name]] for name in bits)
    description = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    groups = description["config_groups"].values()
    named = {
        f"{module}.weight": g["weights"]["num_bits"] for g in groups for module in g["targets"]
    }
    assert named == bits
