"""The reference, with what a TensorRT engine has left of the weights."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import numpy as np
from llmasos.plan import Precision
from numpy.typing import NDArray

from llmasos_builder.architectures.decoder import define_decoder
from llmasos_builder.architectures.spec import DecoderSpec
from llmasos_builder.graph import Array
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.reference import ReferenceGraph, Wide
from llmasos_builder.tensorrt.constants import numpy_type
from llmasos_builder.tensorrt.options import ComputeType
from llmasos_builder.tensorrt.quantization import dequantize, quantize


class RoundedReference(ReferenceGraph):
    """Computes in float64. tables: names of weights whose rows are looked up, which an engine
    does not quantize; compute_type: what it keeps those, norms and biases in.
    """

    def __init__(
        self, input_ids: NDArray[np.int64], tables: AbstractSet[str], compute_type: ComputeType
    ) -> None:
        super().__init__(input_ids)
        self._tables = tables
        self._compute_type: ComputeType = compute_type

    def weight(self, name: str, values: Array, precision: Precision) -> Wide:
        match self._compute_type if name in self._tables else precision:
            case "f32" | "fp16" | "bf16":
                return values.astype(numpy_type(self._compute_type)).astype(np.float64)
            case quantized:
                matrix = quantize(name, values, quantized, self._compute_type)
                return dequantize(matrix, self._compute_type).astype(np.float64)


def looked_up(spec: DecoderSpec) -> AbstractSet[str]:
    """The names of the weights whose rows a network looks up."""
    graph = RecordingGraph()
    define_decoder(
        spec, graph, lambda _, shape: np.broadcast_to(np.float32(0), shape), precision="f32"
    )
    return {
        operation.weights[0].name
        for operation in graph.operations
        if operation.kind in ("embed_tokens", "embed_positions")
    }
