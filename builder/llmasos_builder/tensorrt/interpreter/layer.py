"""Reads a network's layers from TensorRT, in an order in which they can be computed.

Everything is read through the public interface of the object that TensorRT compiles; the library
is the one that the object came from, so this serves `tensorrt` and `tensorrt_rtx` and imports
neither.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmasos_builder.tensorrt.interpreter.errors import InterpretationError

_CLASSES = {
    "ACTIVATION": "IActivationLayer",
    "ATTENTION_INPUT": "IAttentionInputLayer",
    "ATTENTION_OUTPUT": "IAttentionOutputLayer",
    "CAST": "ICastLayer",
    "CONCATENATION": "IConcatenationLayer",
    "CONSTANT": "IConstantLayer",
    "DEQUANTIZE": "IDequantizeLayer",
    "DIST_COLLECTIVE": "IDistCollectiveLayer",
    "ELEMENTWISE": "IElementWiseLayer",
    "GATHER": "IGatherLayer",
    "IDENTITY": "IIdentityLayer",
    "KV_CACHE_UPDATE": "IKVCacheUpdateLayer",
    "MATRIX_MULTIPLY": "IMatrixMultiplyLayer",
    "NORMALIZATION": "INormalizationLayer",
    "QUANTIZE": "IQuantizeLayer",
    "REDUCE": "IReduceLayer",
    "ROTARY_EMBEDDING": "IRotaryEmbeddingLayer",
    "SELECT": "ISelectLayer",
    "SHAPE": "IShapeLayer",
    "SHUFFLE": "IShuffleLayer",
    "SLICE": "ISliceLayer",
    "SOFTMAX": "ISoftMaxLayer",
    "SQUEEZE": "ISqueezeLayer",
    "TOPK": "ITopKLayer",
    "UNARY": "IUnaryLayer",
    "UNSQUEEZE": "IUnsqueezeLayer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTensor:
    """shape: as TensorRT infers it, -1 where it depends on the inputs. dtype: its name."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    is_network_input: bool
    is_network_output: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer. settings: TensorRT's own object, of the class that has the kind's fields."""

    name: str
    kind: str
    inputs: tuple[LayerTensor | None, ...]
    outputs: tuple[LayerTensor, ...]
    settings: Any

    def error(self, problem: str) -> InterpretationError:
        return InterpretationError(f"{self.kind} layer {self.name!r}: {problem}")


def read_tensor(tensor: Any) -> LayerTensor:
    """Returns what is known of a tensor before anything is computed.

    Raises InterpretationError if TensorRT cannot infer its shape; its log has the reason.
    """
    try:
        shape = tuple(tensor.shape)
    except (RuntimeError, ValueError) as error:
        raise InterpretationError(f"TensorRT refuses what gives {tensor.name!r}") from error
    return LayerTensor(
        name=tensor.name,
        dtype=tensor.dtype.name,
        shape=shape,
        is_network_input=tensor.is_network_input,
        is_network_output=tensor.is_network_output,
    )


def read_layers(network: Any) -> list[Layer]:
    """Returns every layer after the layers of its inputs.

    TensorRT lists layers as they were created, which is another order if an input was set later.
    Raises InterpretationError if two tensors have one name.
    """
    waiting = list(_listed(network))
    _check_names(waiting)
    known = {network.get_input(i).name for i in range(network.num_inputs)}
    ordered: list[Layer] = []
    while waiting:
        left: list[Layer] = []
        for layer in waiting:
            if all(tensor is None or tensor.name in known for tensor in layer.inputs):
                ordered.append(layer)
                known |= {tensor.name for tensor in layer.outputs}
            else:
                left.append(layer)
        if len(left) == len(waiting):
            raise left[0].error("its inputs never come")
        waiting = left
    return ordered


def _listed(network: Any) -> Iterator[Layer]:
    library = sys.modules[type(network).__module__]
    for index in range(network.num_layers):
        raw = network.get_layer(index)
        kind = raw.type.name
        if kind in _CLASSES:
            raw.__class__ = getattr(library, _CLASSES[kind])
        yield Layer(
            name=raw.name,
            kind=kind,
            inputs=tuple(None if t is None else read_tensor(t) for t in _inputs(raw, kind)),
            outputs=tuple(read_tensor(raw.get_output(i)) for i in range(raw.num_outputs)),
            settings=raw,
        )


def _inputs(raw: Any, kind: str) -> list[Any]:
    """For attention: query, key, value, mask and lengths, whether set or not."""
    if kind == "ATTENTION_INPUT":
        attention = raw.attention
        qkv = [raw.get_input(i) for i in range(3)]
        return [*qkv, attention.mask, attention.key_value_lengths]
    return [raw.get_input(i) for i in range(raw.num_inputs)]


def _check_names(layers: list[Layer]) -> None:
    seen: set[str] = set()
    for layer in layers:
        for tensor in layer.outputs:
            if tensor.name in seen:
                raise layer.error(f"another tensor is called {tensor.name!r} too")
            seen.add(tensor.name)
