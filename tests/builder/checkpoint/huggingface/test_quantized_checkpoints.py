"""Quantized checkpoints, each packed number by number as its library says, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from llmasos.errors import CheckpointError
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.huggingface.quantized.weights import QuantizedWeights
from numpy.typing import NDArray
from quantized_checkpoints import COMPRESSED, weights_of, write
from refusals import refusal

OUT, IN, GROUP = 16, 64, 32
GROUPS = IN // GROUP
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 16, (OUT, IN))
ZEROS = RNG.integers(1, 16, (OUT, GROUPS))
SCALES = RNG.uniform(0.01, 0.1, (OUT, GROUPS)).astype(np.float16)
EXPECTED = ((CODES - ZEROS.repeat(GROUP, 1)) * SCALES.astype(np.float32).repeat(GROUP, 1)).astype(
    np.float32
)


def packed(fields: Any, order: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)) -> NDArray[np.int32]:
    """Eight neighbours of the last axis in a word; the one in nibble k is the order[k]-th."""
    rows = []
    for row in np.asarray(fields):
        words = []
        for start in range(0, len(row), 8):
            word = 0
            for nibble, of_word in enumerate(order):
                word |= int(row[start + of_word]) << 4 * nibble
            words.append(word)
        rows.append(words)
    return np.array(rows, np.uint32).view(np.int32)


def check(weights: QuantizedWeights, expected: Any) -> None:
    assert weights.shape("model.a.weight") == expected.shape
    values = weights.load("model.a.weight")
    assert values.dtype == np.float32 and np.array_equal(values, expected)


def gptq_parts(zero_offset: int, order: Any = None) -> dict[str, Any]:
    by_input = {} if order is None else {"g_idx": np.asarray(order, np.int32)}
    return {
        "qweight": packed(CODES).T,
        "qzeros": packed(ZEROS.T - zero_offset),
        "scales": SCALES.T,
        **by_input,
    }


@pytest.mark.parametrize(("version", "offset"), [(None, 1), ("gptq", 1), ("gptq_v2", 0)])
def test_gptq_version_1_stores_zeros_minus_one(
    version: str | None, offset: int, tmp_path: Path
) -> None:
    config = {"quant_method": "gptq", "bits": 4, "group_size": GROUP}
    config |= {} if version is None else {"checkpoint_format": version}
    weights = weights_of(tmp_path, config, **gptq_parts(offset))
    check(weights, EXPECTED)
    assert weights.int4_group() == GROUP and weights.bits() == {"model.a.weight": 4}


def test_gptq_act_order_gives_each_input_a_group(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(IN) // GROUP
    config = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": True}
    weights = weights_of(tmp_path, config, **gptq_parts(1, order))
    zeros, scales = ZEROS[:, order], SCALES.astype(np.float32)[:, order]
    check(weights, ((CODES - zeros) * scales).astype(np.float32))
    assert weights.int4_group() is None


def test_gptq_says_what_it_did_in_a_file_of_its_own(tmp_path: Path) -> None:
    beside = {"quantize_config.json": {"bits": 4, "group_size": GROUP, "desc_act": False}}
    weights = weights_of(tmp_path, None, beside=beside, **gptq_parts(1))
    check(weights, EXPECTED)


AWQ_PARTS = {
    "qweight": packed(CODES.T, order=(0, 2, 4, 6, 1, 3, 5, 7)),
    "qzeros": packed(ZEROS.T, order=(0, 2, 4, 6, 1, 3, 5, 7)),
    "scales": SCALES.T,
}


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"},
        {"quant_method": "awq", "w_bit": 4, "q_group_size": GROUP, "version": "GEMM"},
    ],
)
def test_awq_packs_outputs_in_an_order_of_its_own(config: Any, tmp_path: Path) -> None:
    weights = weights_of(tmp_path, config, **AWQ_PARTS)
    check(weights, EXPECTED)
    assert weights.int4_group() == GROUP


def test_awq_says_what_it_did_in_a_file_of_its_own(tmp_path: Path) -> None:
    beside = {"quant_config.json": {"w_bit": 4, "q_group_size": GROUP, "zero_point": True}}
    check(weights_of(tmp_path, None, beside=beside, **AWQ_PARTS), EXPECTED)


def compressed_parts() -> dict[str, Any]:
    return {
        "weight_packed": packed(CODES),
        "weight_scale": SCALES,
        "weight_shape": np.array([OUT, IN], np.int64),
    }


def test_compressed_tensors_packs_inputs_with_8_added(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, COMPRESSED, **compressed_parts())
    check(weights, ((CODES - 8) * SCALES.astype(np.float32).repeat(GROUP, 1)).astype(np.float32))
    assert weights.int4_group() == GROUP


def test_compressed_tensors_packs_zero_points_along_the_outputs(tmp_path: Path) -> None:
    zeros = packed(ZEROS.T).T
    weights = weights_of(tmp_path, COMPRESSED, **compressed_parts(), weight_zero_point=zeros)
    check(weights, EXPECTED)


def test_compressed_tensors_has_rows_of_int8(tmp_path: Path) -> None:
    codes = RNG.integers(-128, 128, (OUT, IN)).astype(np.int8)
    scales = SCALES[:, :1]
    weights = weights_of(
        tmp_path, {**COMPRESSED, "format": "int-quantized"}, weight=codes, weight_scale=scales
    )
    check(weights, codes * scales.astype(np.float32))
    assert weights.bits() == {"model.a.weight": 8} and weights.int4_group() is None


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
BYTES = (CODES[:, ::2] | CODES[:, 1::2] << 4).astype(np.uint8)
F8 = RNG.uniform(1, 100, (OUT, IN // 16)).astype(ml_dtypes.float8_e4m3fn)


@pytest.mark.parametrize("library", ["compressed-tensors", "modelopt"])
def test_the_global_scale_of_nvfp4_is_a_divisor_there_and_a_factor_here(
    library: str, tmp_path: Path
) -> None:
    if library == "modelopt":
        parts: dict[str, Any] = {"weight": BYTES, "weight_scale_2": np.float32(0.003).reshape(())}
        config: Any = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
        each = F8.astype(np.float32) * np.float32(0.003)
    else:
        parts = {"weight_packed": BYTES, "weight_global_scale": np.array([300], np.float32)}
        config = {**COMPRESSED, "format": "nvfp4-pack-quantized"}
        each = F8.astype(np.float32) / np.float32(300)
    weights = weights_of(tmp_path, config, weight_scale=F8, **parts)
    check(weights, E2M1[CODES] * each.repeat(16, 1))


def test_modelopt_says_what_it_did_in_a_file_of_its_own(tmp_path: Path) -> None:
    beside = {"hf_quant_config.json": {"quantization": {"quant_algo": "NVFP4", "group_size": 16}}}
    factor = np.array([0.5], np.float32)
    weights = weights_of(
        tmp_path, None, beside=beside, weight=BYTES, weight_scale=F8, weight_scale_2=factor
    )
    check(weights, E2M1[CODES] * F8.astype(np.float32).repeat(16, 1) * np.float32(0.5))


def test_scales_of_mxfp4_are_exponents(tmp_path: Path) -> None:
    exponents = RNG.integers(120, 130, (OUT, GROUPS)).astype(np.uint8)
    config = {**COMPRESSED, "format": "mxfp4-pack-quantized"}
    weights = weights_of(tmp_path, config, weight_packed=BYTES, weight_scale=exponents)
    powers = 2.0 ** (exponents.astype(int) - 127)
    check(weights, (E2M1[CODES] * powers.repeat(GROUP, 1)).astype(np.float32))


def test_inverse_scales_of_fp8_blocks_are_factors(tmp_path: Path) -> None:
    values = RNG.normal(0, 10, (OUT, IN)).astype(ml_dtypes.float8_e4m3fn)
    scales = RNG.uniform(0.1, 1, (2, 3)).astype(np.float32)
    config = {"quant_method": "fp8", "weight_block_size": [10, 24]}
    weights = weights_of(tmp_path, config, weight=values, weight_scale_inv=scales)
    each = scales.repeat(10, 0)[:OUT].repeat(24, 1)[:, :IN]
    check(weights, values.astype(np.float32) * each)


NF4 = np.linspace(-1, 1, 16, dtype=np.float32)


def bitsandbytes_parts(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    blocks = (CODES[:, ::2] << 4 | CODES[:, 1::2]).astype(np.uint8).reshape(-1, 1)
    content = json.dumps({"shape": [OUT, IN], "blocksize": 64, **state}).encode()
    return {
        "weight": blocks,
        "weight.quant_map": NF4,
        "weight.quant_state.bitsandbytes__nf4": np.frombuffer(content, np.uint8),
        **{f"weight.{name}": values for name, values in more.items()},
    }


def test_bitsandbytes_has_blocks_that_know_no_rows(tmp_path: Path) -> None:
    largest = RNG.uniform(0.1, 1, OUT).astype(np.float32)
    weights = weights_of(
        tmp_path, {"quant_method": "bitsandbytes"}, **bitsandbytes_parts({}, absmax=largest)
    )
    check(weights, NF4[CODES] * largest[:, None])


def test_bitsandbytes_quantizes_the_largest_of_blocks_too(tmp_path: Path) -> None:
    codes = RNG.integers(0, 256, OUT).astype(np.uint8)
    table = RNG.normal(0, 1, 256).astype(np.float32)
    nested = np.array([0.25, 0.5], np.float32)
    parts = bitsandbytes_parts(
        {"nested_blocksize": 8, "nested_offset": 0.75},
        absmax=codes,
        nested_absmax=nested,
        nested_quant_map=table,
    )
    weights = weights_of(tmp_path, {"quant_method": "bitsandbytes"}, **parts)
    largest = table[codes] * nested.repeat(8) + np.float32(0.75)
    check(weights, NF4[CODES] * largest[:, None])


def test_bitsandbytes_in_8_bits_has_the_largest_of_each_row(tmp_path: Path) -> None:
    codes = RNG.integers(-127, 128, (OUT, IN)).astype(np.int8)
    largest = RNG.uniform(1, 2, OUT).astype(np.float32)
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    kind = np.array(0, np.uint8).reshape(())
    weights = weights_of(tmp_path, config, weight=codes, SCB=largest, weight_format=kind)
    check(weights, codes * largest[:, None] * np.float32(0.007874015718698502))


@pytest.mark.parametrize(
    ("config", "parts", "expected"),
    [
        ({"quant_method": "gptq", "bits": 3}, {}, "bits of gptq is 3, must be 2, 4, 8"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, {}, "version 'gemv' of awq"),
        ({"quant_method": "fp8", "weight_block_size": [0, 8]}, {}, "must be two numbers above 0"),
        ({**COMPRESSED, "transform_config": {"a": 1}}, {}, "transform_config of compressed"),
        (COMPRESSED, {}, "no tensor ends with weight_packed, weight_scale"),
        (
            {"quant_method": "gptq", "bits": 4, "group_size": GROUP},
            gptq_parts(1) | {"g_idx": np.full(IN, 2, np.int32)},
            "model.a has inputs in group 2, and 2 groups",
        ),
        (
            COMPRESSED,
            compressed_parts() | {"weight_packed": packed(CODES)[:, :5]},
            "model.a has 5 words for 64 inputs; 4 and 8 bits are read",
        ),
        (
            COMPRESSED,
            compressed_parts() | {"weight_scale": np.ones((OUT, 3), np.float16)},
            "model.a has 64 inputs, which 3 groups do not divide",
        ),
    ],
)
def test_what_is_not_read_is_refused_by_name(
    config: Any, parts: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    directory = write(tmp_path, config, **parts)
    if not parts:
        assert expected in refusal(directory)
        return
    with pytest.raises(CheckpointError, match=expected):
        open_checkpoint(directory).weights.load("model.a.weight")
