"""A checkpoint in fp8: matrices times their scales, and any other quantization by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from llmasos.errors import CheckpointError
from llmasos_builder.checkpoint import Fp8Scales, fp8_scales_of, open_checkpoint
from made_tokenizers import byte_level, write_tokenizer
from numpy.typing import NDArray
from refusals import refusal
from safetensors.numpy import save_file

E4M3 = ml_dtypes.float8_e4m3fn
STORED = np.array([[1, -448, 0.5], [2, 0, -0.0625]], np.float32).astype(E4M3)
COMPRESSED = {"quant_method": "compressed-tensors", "format": "float-quantized"}
MODELOPT = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}


def number(value: float, *shape: int) -> NDArray[np.float32]:
    return np.full(shape, value, np.float32)


def write(
    directory: Path,
    *,
    config: Any = COMPRESSED,
    of_modelopt: Any = None,
    model_type: str = "llama",
    **tensors: Any,
) -> Path:
    """A matrix `model.a` in fp8 with a scale of 2; tensors: others of `model.a`, by name."""
    write_tokenizer(directory, byte_level())
    fields = {"model_type": model_type} | (
        {} if config is None else {"quantization_config": config}
    )
    (directory / "config.json").write_text(json.dumps(fields))
    if of_modelopt is not None:
        (directory / "hf_quant_config.json").write_text(json.dumps(of_modelopt))
    stored = {"weight": STORED, "weight_scale": number(2, 1)} | tensors
    named = {f"model.a.{name}": values for name, values in stored.items() if values is not None}
    save_file({**named, "model.b.weight": number(3, 2, 2)}, directory / "model.safetensors")
    return directory


@pytest.mark.parametrize(
    ("config", "of_modelopt"),
    [
        (COMPRESSED, None),
        ({"quant_method": "fp8", "activation_scheme": "static"}, None),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, MODELOPT),
        (None, MODELOPT),
    ],
)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_matrix_in_fp8_is_multiplied_by_its_scale(
    config: Any, of_modelopt: Any, shape: tuple[int, ...], tmp_path: Path
) -> None:
    scales: dict[str, Any] = {
        "weight_scale": number(2, *shape),
        "input_scale": number(0.25, *shape),
    }
    write(tmp_path, config=config, of_modelopt=of_modelopt, **scales)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.weights.names() == {"model.a.weight", "model.b.weight"}
    assert "quantization_config" not in checkpoint.config
    assert np.array_equal(checkpoint.weights.load("model.a.weight"), 2 * STORED.astype(np.float32))
    assert np.array_equal(checkpoint.weights.load("model.b.weight"), number(3, 2, 2))
    assert fp8_scales_of(checkpoint.weights) == {
        "model.a.weight": Fp8Scales(weight=2, activation=0.25)
    }
    assert ("hf_quant_config.json" in checkpoint.files) == (of_modelopt is not None)


def test_activations_need_no_scale(tmp_path: Path) -> None:
    weights = open_checkpoint(write(tmp_path)).weights
    assert fp8_scales_of(weights) == {"model.a.weight": Fp8Scales(weight=2, activation=None)}


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_each_output_may_have_its_own_scale(shape: tuple[int, ...], tmp_path: Path) -> None:
    scales = np.array([2, 3], np.float32)
    weights = open_checkpoint(write(tmp_path, weight_scale=scales.reshape(shape))).weights
    expected = STORED.astype(np.float32) * scales[:, None]
    assert np.array_equal(weights.load("model.a.weight"), expected)
    assert not fp8_scales_of(weights)


def test_scales_of_kv_caches_are_left_out(tmp_path: Path) -> None:
    weights = open_checkpoint(write(tmp_path, k_scale=number(1), v_scale=number(1))).weights
    assert weights.names() == {"model.a.weight", "model.b.weight"}


def test_scales_follow_a_body_saved_alone(tmp_path: Path) -> None:
    weights = open_checkpoint(write(tmp_path, model_type="gpt2")).weights
    name = "transformer.model.a.weight"
    assert np.array_equal(weights.load(name), 2 * STORED.astype(np.float32))
    assert fp8_scales_of(weights).keys() == {name}


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"weight_scale": None}, "a.weight is in fp8, and there is no model.a.weight_scale"),
        ({"weight_scale": number(1, 1, 3)}, r"weight_scale has the shape \[1, 3\] for \[2, 3\]"),
        ({"weight_scale": number(0, 1)}, "weight_scale must be one positive number"),
        ({"input_scale": number(np.nan, 1)}, "input_scale must be one positive number"),
        ({"input_scale": number(1, 3)}, "input_scale must be one positive number"),
    ],
)
def test_scales_that_cannot_be_used_are_named(
    tensors: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=problem):
        open_checkpoint(write(tmp_path, **tensors))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"quant_method": "hqq"}, "hqq"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({**COMPRESSED, "format": "marlin-24"}, "compressed-tensors marlin-24"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "modelopt W4A8_AWQ"),
        ("surprise", "surprise"),
    ],
)
def test_any_other_quantization_is_refused_by_its_name(
    config: Any, name: str, tmp_path: Path
) -> None:
    assert f"config.json: the checkpoint is quantized already ({name}), which" in refusal(
        write(tmp_path, config=config)
    )


def test_another_quantization_by_modelopt_is_refused_by_its_name(tmp_path: Path) -> None:
    of_modelopt = {"quantization": {"quant_algo": "W4A16_AWQ"}}
    message = refusal(write(tmp_path, config=None, of_modelopt=of_modelopt))
    assert (
        "hf_quant_config.json: the checkpoint is quantized already (modelopt W4A16_AWQ)" in message
    )
