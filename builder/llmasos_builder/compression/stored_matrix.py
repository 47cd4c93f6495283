"""A quantized matrix as the tensors that compressed-tensors keeps it in.

The layouts are drawn where they are read (`checkpoint.huggingface.quantized`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from llmasos_builder.compression.formats import QuantizationFormat
from llmasos_builder.compression.integer_codes import IntegerCodes
from llmasos_builder.graph import Array
from llmasos_builder.graph.quantizer import scale_of

Tensors = Mapping[str, NDArray[Any]]
_E4M3_LARGEST = 448.0


def tensors_of(codes: IntegerCodes, stored: QuantizationFormat) -> Tensors:
    """Returns the tensors of a matrix, by their names after its module's."""
    if stored.layout == "int-quantized":
        return {"weight": codes.codes, "weight_scale": codes.scales}
    bits = codes.format.bits
    tensors: dict[str, NDArray[Any]] = {
        "weight_packed": packed(codes.codes, bits),
        "weight_scale": codes.scales,
        "weight_shape": np.array(codes.codes.shape, np.int64),
    }
    if codes.zeros is not None:
        tensors["weight_zero_point"] = np.ascontiguousarray(packed(codes.zeros.T, bits).T)
    return tensors


def e4m3_tensors(values: Array, scale_type: Any) -> Tensors:
    """Returns the tensors of a matrix in e4m3 with a scale for each row."""
    largest = np.abs(values).max(axis=1, keepdims=True)
    scales = scale_of(largest, _E4M3_LARGEST, scale_type)
    quotients = (values / scales.astype(np.float32)).clip(-_E4M3_LARGEST, _E4M3_LARGEST)
    return {"weight": quotients.astype(ml_dtypes.float8_e4m3fn), "weight_scale": scales}


def packed(codes: NDArray[np.int8], bits: int) -> NDArray[np.int32]:
    """Packs rows of codes, each plus half their number, into words, lowest bits first."""
    rows, columns = codes.shape
    per_word = 32 // bits
    fields = np.zeros((rows, -(-columns // per_word), per_word), np.uint32)
    fields.reshape(rows, -1)[:, :columns] = codes.astype(np.int32) + (1 << (bits - 1))
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    words: NDArray[np.uint32] = np.bitwise_or.reduce(fields << shifts, axis=2)
    return words.view(np.int32)
