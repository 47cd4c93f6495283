"""Weights as TensorRT constants, in the form that their use allows.

A matrix of a linear is stored quantized and dequantized in the network, which TensorRT fuses into
the product. A table whose rows are looked up is kept in the compute type, even if the output head
shares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.engine.plan import Precision
from llmasos.errors import CheckpointError

from llmasos_builder.checkpoint import Fp8Scales
from llmasos_builder.graph import Array
from llmasos_builder.tensorrt.layers import Layers
from llmasos_builder.tensorrt.options import ComputeType
from llmasos_builder.tensorrt.quantization import (
    QuantizedMatrix,
    QuantizedPrecision,
    quantize,
    quantize_by,
)
from llmasos_builder.tensorrt.weight_slice import WeightSlice

_LARGEST: dict[ComputeType, float] = {"f32": 3.4e38, "fp16": 65504.0, "bf16": 3.38e38}


class TensorRTWeight:
    """A constant [out, in] or [n] that its first use makes. weight_slice: the part that is kept.

    scales: those of a matrix that was stored in fp8, which becomes fp8 with them again.
    """

    def __init__(
        self,
        layers: Layers,
        name: str,
        values: Array,
        precision: Precision,
        compute: ComputeType,
        *,
        weight_slice: WeightSlice | None = None,
        scales: Fp8Scales | None = None,
    ) -> None:
        self._layers = layers
        self._name = name
        self._values: Array | None = values
        self._precision: Precision = precision
        self._compute: ComputeType = compute
        self._weight_slice = weight_slice
        self._scales = scales
        self._tensor: Any = None

    def matrix(self) -> Any:
        """[out, in], in the compute type."""
        if self._tensor is None:
            match self._precision:
                case "f32" | "fp16" | "bf16":
                    self._tensor = self._plain(self._kept())
                case "int8" | "int4" | "fp8" | "nvfp4":
                    self._tensor = self._quantized(self._take(), self._precision)
        return self._tensor

    @property
    def activation_scale(self) -> float | None:
        """The scale of the matrix's inputs, if they are to be rounded to fp8."""
        return None if self._scales is None else self._scales.activation

    def table(self) -> Any:
        """[rows, width], in the compute type, from a constant that is not quantized."""
        if self._tensor is None:
            self._tensor = self._plain(self._kept())
        return self._tensor

    def vector(self, rank: int) -> Any:
        """[1, ..., n], in the compute type."""
        if self._tensor is None:
            self._tensor = self._plain(self._kept().reshape((1,) * (rank - 1) + (-1,)))
        assert len(self._tensor.shape) == rank
        return self._tensor

    def exact_vector(self, rank: int) -> Any:
        """[1, ..., n], in f32."""
        if self._tensor is None:
            values = self._kept().reshape((1,) * (rank - 1) + (-1,))
            self._tensor = self._layers.constants.float32(values, name=self._name)
        assert len(self._tensor.shape) == rank
        return self._tensor

    def _kept(self) -> Array:
        values = self._take()
        return values if self._weight_slice is None else self._weight_slice.of(values)

    def _take(self) -> Array:
        """Raises CheckpointError for values beyond the range of the compute type."""
        assert self._values is not None
        values, self._values = self._values, None
        if max(values.max(), -values.min()) > _LARGEST[self._compute]:
            raise CheckpointError(
                f"tensor {self._name} holds values too large for {self._compute}",
                hint="build with --precision bf16",
            )
        return values

    def _plain(self, values: Array) -> Any:
        return self._layers.constants.of_compute_type(values, name=self._name)

    def _quantized(self, values: Array, precision: QuantizedPrecision) -> Any:
        if self._scales is None:
            matrix = quantize(self._name, values, precision, self._compute)
        else:
            matrix = quantize_by(values, self._scales.weight)
        if self._weight_slice is not None:
            matrix = self._weight_slice.of_quantized(self._name, matrix)
        library, constants = self._layers.library, self._layers.constants
        types = {
            "int8": library.int8,
            "int4": library.int4,
            "fp8": library.fp8,
            "nvfp4": library.fp4,
        }
        stored = constants.add(matrix.values, types[precision], shape=matrix.shape, name=self._name)
        return self._layers.dequantize(
            stored,
            self._factors(matrix),
            constants.dtype,
            axis=0 if precision == "int8" else None,
            # TensorRT takes int4 only if it finds the groups from the shapes itself.
            block=(1, 16) if precision == "nvfp4" else None,
        )

    def _factors(self, matrix: QuantizedMatrix) -> Any:
        layers, name = self._layers, f"{self._name}.scale"
        if self._scales is not None:
            return layers.constants.float32(matrix.scales, name=name)
        if matrix.global_scale is None:
            return layers.constants.of_compute_type(matrix.scales, name=name)
        scales = layers.constants.add(matrix.scales, layers.library.fp8, name=name)
        whole = layers.constants.float32(matrix.global_scale)
        exact = layers.dequantize(scales, whole, layers.library.float32)
        return layers.cast(exact, layers.constants.dtype)


def kept_as(
    name: str, precision: Precision, compute: ComputeType, scales: Mapping[str, Fp8Scales]
) -> Precision:
    """Keeps other matrices of an fp8 checkpoint in the compute type."""
    return compute if precision == "fp8" and scales and name not in scales else precision
