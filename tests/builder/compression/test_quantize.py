"""A tiny checkpoint quantized, and what the builder reads of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmasos.errors import InvalidRequestError, LLMasOSError, UnsupportedArchitectureError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.architectures import network_of
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.compression import matrix_quantizer as module
from llmasos_builder.compression.calibration import CalibrationOptions, calibration_windows
from llmasos_builder.compression.formats import format_of
from llmasos_builder.compression.gptq import gptq
from llmasos_builder.compression.quantize import quantize
from llmasos_builder.compression.quantize_options import Method, QuantizeOptions
from llmasos_builder.compression.scale_search import plain_grid, searched_grid
from llmasos_builder.compression.streaming import stream
from llmasos_builder.graph import Array
from tiny import write_tiny_llama

CALIBRATION = CalibrationOptions(samples=8, seq_length=32)


def ignore(stage: str, done: int, total: int) -> None:
    """Ignores progress reports."""


def quantized(
    directory: Path,
    *,
    format: str = "W4A16",  # noqa: A002
    method: Method = "gptq",
    ignored: tuple[str, ...] = (),
    name: str = "out",
    **options: Any,
) -> Path:
    source = directory / "dense"
    if not source.exists():
        write_tiny_llama(source)
    output = directory / name
    quantize(
        open_checkpoint(source),
        output,
        QuantizeOptions(
            format=format_of(format, **options),
            method=method,
            ignore=ignored,
            calibration=CALIBRATION,
        ),
        ignore,
    )
    return output


def outputs_of(directory: Path) -> Array:
    checkpoint = open_checkpoint(directory)
    windows = calibration_windows(Tokenizer.load(directory), CALIBRATION)
    return stream(network_of(checkpoint.config), checkpoint.weights, windows).hidden


def matrix(seed: int = 0) -> tuple[Array, Any]:
    """A matrix [48, 128], and the products of inputs that are much alike."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(0, 1, (400, 16)) @ rng.normal(0, 1, (16, 128))
    inputs += rng.normal(0, 0.3, inputs.shape)
    return rng.normal(0, 0.05, (48, 128)).astype(np.float32), inputs.T @ inputs


def cost(found: Array, values: Array, hessian: Any) -> float:
    error = (found - values).astype(np.float64)
    return float(np.einsum("ij,ij->", error @ hessian, error))


@pytest.mark.parametrize("symmetric", [True, False])
def test_gptq_is_closer_than_the_best_scales_and_those_than_plain_ones(symmetric: bool) -> None:
    values, hessian = matrix()
    integers = format_of("W4A16", group_size=32, symmetric=symmetric).integers
    assert integers is not None
    plain = plain_grid(values, integers, 32)
    searched = searched_grid(values, integers, 32)
    rounded = [g.with_codes(g.nearest(values), np.float16).values() for g in (plain, searched)]
    assert np.square(rounded[1] - values).sum() < 0.95 * np.square(rounded[0] - values).sum()
    unrefined = gptq(values, hessian, searched, np.float16, num_refits=0)
    refined = gptq(values, hessian, searched, np.float16)
    costs = [cost(found.values(), values, hessian) for found in (unrefined, refined)]
    assert costs[0] < 0.5 * cost(rounded[1], values, hessian)
    assert costs[1] < 0.98 * costs[0]
    assert refined.codes.min() >= -8 and refined.codes.max() <= 7


def test_gptq_rounds_to_nearest_where_inputs_have_nothing_in_common() -> None:
    values, _ = matrix()
    integers = format_of("W4A16", group_size=32).integers
    assert integers is not None
    grid = searched_grid(values, integers, 32)
    found = gptq(values, np.eye(128), grid, np.float16, num_refits=0)
    assert np.array_equal(found.codes, grid.nearest(values))


@pytest.mark.parametrize(
    ("format_name", "method", "options"),
    [
        ("W4A16", "gptq", {}),
        ("W4A16", "gptq", {"symmetric": False, "group_size": 32}),
        ("W4A16", "rtn", {}),
        ("W8A16", "gptq", {}),
        ("W8A8", "mse", {}),
        ("FP8", "rtn", {}),
    ],
)
def test_what_is_written_is_read_and_close(
    format_name: str, method: Method, options: Any, tmp_path: Path
) -> None:
    output = quantized(tmp_path, format=format_name, method=method, **options)
    description = json.loads((output / "config.json").read_text())["quantization_config"]
    assert description["quant_method"] == "compressed-tensors"
    dense, found = (open_checkpoint(path).weights for path in (tmp_path / "dense", output))
    assert found.names() == dense.names()
    for name in dense.names():
        values = dense.load(name)
        error = np.square(found.load(name) - values).sum() / np.square(values).sum()
        is_quantized = name.endswith("proj.weight")
        limit = {"W4A16": 0.05, "FP8": 0.002}.get(format_name, 0.0002) if is_quantized else 1e-6
        assert (0 if is_quantized else -1) < error < limit
    assert not (tmp_path / ".out.quantizing").exists()


def test_gptq_loses_less_than_rounding_to_nearest(tmp_path: Path) -> None:
    dense = tmp_path / "dense"
    errors = {}
    methods: tuple[Method, ...] = ("rtn", "gptq")
    for method in methods:
        found = outputs_of(quantized(tmp_path, method=method, name=method))
        errors[method] = float(np.square(found - outputs_of(dense)).mean())
    assert errors["gptq"] < 0.6 * errors["rtn"]


def test_ignored_modules_stay_and_are_named(tmp_path: Path) -> None:
    output = quantized(tmp_path, method="rtn", ignored=("down_proj", r"re:.*layers\.0\.mlp.*"))
    description = json.loads((output / "config.json").read_text())["quantization_config"]
    assert description["ignore"] == [
        "lm_head",
        "model.layers.0.mlp.gate_proj",
        "model.layers.0.mlp.up_proj",
        "model.layers.0.mlp.down_proj",
        "model.layers.1.mlp.down_proj",
    ]
    name = "model.layers.1.mlp.down_proj.weight"
    expected = open_checkpoint(tmp_path / "dense").weights.load(name).astype(np.float16)
    assert np.array_equal(open_checkpoint(output).weights.load(name), expected)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@contextmanager
def failing_after(monkeypatch: pytest.MonkeyPatch, count: int) -> Iterator[list[int]]:
    """Let gptq fail when it is called the count-th time; yields how often it was called."""
    calls = [0]

    def fail(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            raise KeyboardInterrupt
        return gptq(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module, "gptq", fail)
        yield calls


def test_a_run_that_was_stopped_goes_on_and_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = content(quantized(tmp_path, name="whole"))
    with failing_after(monkeypatch, 10), pytest.raises(KeyboardInterrupt):
        quantized(tmp_path)
    assert not (tmp_path / "out").exists()
    with failing_after(monkeypatch, 100) as calls:
        assert content(quantized(tmp_path)) == expected
    assert calls == [14 - 9]


def test_other_options_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing_after(monkeypatch, 10), pytest.raises(KeyboardInterrupt):
        quantized(tmp_path)
    with failing_after(monkeypatch, 100) as calls:
        quantized(tmp_path, group_size=32)
    assert calls == [14]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"format": "W3A16"}, "format must be one of W4A16, W8A16, W8A8, FP8, got 'W3A16'"),
        ({"group_size": 48}, "group-size is 48, which does not divide the 64 inputs of model"),
        ({"group_size": 12}, "group-size is 12, must be a multiple of 8 from 16 on"),
        ({"format": "W8A8", "group_size": 64}, "W8A8 has a scale for each row, symmetric"),
        ({"format": "FP8"}, "method gptq is for integers, and format is FP8; choose rtn"),
        ({"ignored": ("experts",)}, "ignore 'experts' matches no matrix of the layers"),
        ({"ignored": ("re:(",)}, r"ignore 're:\(' is no regular expression"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=expected):
        quantized(tmp_path, **options)
    assert {path.name for path in tmp_path.iterdir()} <= {"dense"}


def test_a_quantized_checkpoint_is_not_quantized_again(tmp_path: Path) -> None:
    output = quantized(tmp_path, method="rtn")
    options = QuantizeOptions(format=format_of("W4A16"))
    with pytest.raises(UnsupportedArchitectureError, match="not quantized again"):
        quantize(open_checkpoint(output), tmp_path / "twice", options, ignore)


def test_text_that_is_too_short_leaves_nothing_behind(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "dense")
    (tmp_path / "short.txt").write_text("short")
    options = QuantizeOptions(
        format=format_of("W4A16"), calibration=CalibrationOptions(dataset=tmp_path / "short.txt")
    )
    with pytest.raises(LLMasOSError, match="has 5 tokens, 64 samples of 512 need 32768"):
        quantize(open_checkpoint(tmp_path / "dense"), tmp_path / "out", options, ignore)
    assert {path.name for path in tmp_path.iterdir()} == {"dense", "short.txt"}
