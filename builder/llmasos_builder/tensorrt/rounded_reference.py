"""The reference with weights rounded as a TensorRT engine rounds them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from llmasos.engine.plan import Precision
from numpy.typing import NDArray

from llmasos_builder.architectures.network import Network
from llmasos_builder.checkpoint import Fp8Scales
from llmasos_builder.graph import Array
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.reference import ReferenceGraph, Wide
from llmasos_builder.tensorrt.constants import numpy_type
from llmasos_builder.tensorrt.options import ComputeType
from llmasos_builder.tensorrt.quantization import dequantize, quantize, quantize_by
from llmasos_builder.tensorrt.weights import kept_as

_LARGEST = 448.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """Names of weights that an engine does not quantize: tables, whose rows are looked up, and
    exact
    ones, of RMSNorm, which stay f32.
    """

    tables: frozenset[str]
    exact: frozenset[str]


class RoundedReference(ReferenceGraph):
    """Computes in float64. compute_type: the type in which an engine keeps tables, LayerNorm and
    biases.

    fp8_scales: see `TensorRTGraph`.
    """

    def __init__(
        self,
        input_ids: NDArray[np.int64],
        uses: Uses,
        compute_type: ComputeType,
        *,
        fp8_scales: Mapping[str, Fp8Scales],
    ) -> None:
        super().__init__(input_ids)
        self._uses = uses
        self._compute_type: ComputeType = compute_type
        self._fp8_scales = fp8_scales
        self._activation_scales: dict[int, tuple[weakref.ref[Wide], float]] = {}

    def weight(self, name: str, values: Array, precision: Precision) -> Wide:
        if name in self._uses.exact:
            return values.astype(np.float64)
        compute = self._compute_type
        kept = compute if name in self._uses.tables else precision
        match kept_as(name, kept, compute, self._fp8_scales):
            case "f32" | "fp16" | "bf16":
                return values.astype(numpy_type(compute)).astype(np.float64)
            case "fp8" if name in self._fp8_scales:
                return self._as_stored(values, self._fp8_scales[name])
            case quantized:
                matrix = quantize(name, values, quantized, compute)
                return dequantize(matrix, compute).astype(np.float64)

    def linear(self, x: Wide, weight: Wide, bias: Wide | None = None) -> Wide:
        known, scale = self._activation_scales.get(id(weight), (None, 1.0))
        if known is not None and known() is weight:
            bounded = (x / scale).clip(-_LARGEST, _LARGEST)
            x = bounded.astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * scale
        return super().linear(x, weight, bias)

    def _as_stored(self, values: Array, scales: Fp8Scales) -> Wide:
        matrix = quantize_by(values, scales.weight)
        weight = dequantize(matrix, self._compute_type).astype(np.float64)
        if scales.activation is not None:
            # By identity, as an array has no hash; a weak one, as an id is used again.
            self._activation_scales[id(weight)] = (weakref.ref(weight), scales.activation)
        return weight


def uses_of(network: Network) -> Uses:
    """Returns how a network uses its weights."""
    graph = RecordingGraph()
    network.define(graph, lambda _, shape: np.broadcast_to(np.float32(0), shape), precision="f32")
    named = {
        kind: frozenset(o.weights[0].name for o in graph.operations if o.kind == kind)
        for kind in ("embed_tokens", "embed_positions", "rms_norm")
    }
    return Uses(tables=named["embed_tokens"] | named["embed_positions"], exact=named["rms_norm"])
