"""From a network's own definition to what the step computes, or the reason why it cannot.

The definition is recorded (`RecordingGraph`), and its operations are read in their order by
rules: query, key and value are one product; gate and up another; norms, rotation and residuals
belong to what they feed. What no rule reads is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmasos_builder.architectures.network import Network
from llmasos_builder.graph import Activation, AttentionScores
from llmasos_builder.graph.recording import (
    Operation,
    RecordedTensor,
    RecordedWeight,
    RecordingGraph,
)
from llmasos_builder.native.refusals import MAX_HEAD_SIZE, check_operations, unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A matrix that the step multiplies with, of one or more stored ones, by their names.

    biases: as many, or none.
    """

    weights: tuple[RecordedWeight, ...]
    biases: tuple[RecordedWeight, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredLayer:
    """One layer; frequencies: of rotation, one for each pair of a head's elements."""

    attention_norm: RecordedWeight
    qkv: Product
    query_norm: RecordedWeight | None
    key_norm: RecordedWeight | None
    frequencies: tuple[float, ...]
    scores: AttentionScores
    output: Product
    mlp_norm: RecordedWeight
    gate_up: Product
    activation: Activation
    down: Product


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredNetwork:
    """What the step computes (`step` draws it); norm_eps: of every norm."""

    embedding: RecordedWeight
    layers: tuple[LoweredLayer, ...]
    final_norm: RecordedWeight
    head: RecordedWeight
    norm_eps: float
    num_heads: int
    num_kv_heads: int
    head_size: int

    @property
    def hidden_size(self) -> int:
        return self.embedding.shape[1]

    @property
    def vocab_size(self) -> int:
        return self.head.shape[0]

    @property
    def intermediate_size(self) -> int:
        return self.layers[0].down.weights[0].shape[1]

    @property
    def activation(self) -> Activation:
        return self.layers[0].activation


def lower(defined: Network, *, max_seq_len: int) -> LoweredNetwork:
    """Raises UnsupportedArchitectureError for what the step has no kernel for.

    max_seq_len: of the engine's sequences; a sliding window as long as that hides nothing.
    """
    graph = RecordingGraph()
    defined.define(graph, lambda _, shape: np.broadcast_to(np.float32(0), shape), precision="int8")
    check_operations(graph.operations, max_seq_len=max_seq_len)
    return _Reader(graph.operations).network()


class _Reader:
    """Reads operations one after the other; each must be the one that a rule expects."""

    def __init__(self, operations: list[Operation]) -> None:
        self._operations = operations
        self._next = 0
        self._eps: set[float] = set()

    def network(self) -> LoweredNetwork:
        embedded = self._take("embed_tokens")
        (x,), layers = embedded.outputs, list[LoweredLayer]()
        attentions = [o for o in self._operations if o.kind == "cached_attention"]
        for _ in attentions:
            layer, x = self._layer(x)
            layers.append(layer)
        final_norm, x = self._norm(x)
        (x,) = self._take("select_sampled", x).outputs
        head = self._take("linear", x)
        self._take("output", *head.outputs)
        query, key, _ = attentions[0].inputs
        if len(self._eps) != 1 or len({layer.activation for layer in layers}) != 1:
            raise unsupported("norms or activations that differ between layers")
        if query.width > MAX_HEAD_SIZE:
            raise unsupported(f"heads of {query.width} elements, more than {MAX_HEAD_SIZE}")
        assert query.num_heads is not None and key.num_heads is not None
        return LoweredNetwork(
            embedding=embedded.weights[0],
            layers=tuple(layers),
            final_norm=final_norm,
            head=head.weights[0],
            norm_eps=self._eps.pop(),
            num_heads=query.num_heads,
            num_kv_heads=key.num_heads,
            head_size=query.width,
        )

    def _layer(self, x: RecordedTensor) -> tuple[LoweredLayer, RecordedTensor]:
        attention_norm, normed = self._norm(x)
        qkv, projected = self._fused(normed, 3)
        query, key, value = (self._take("split_heads", part).outputs[0] for part in projected)
        query_norm = key_norm = None
        if self._is_next("rms_norm"):
            query_norm, query = self._norm(query)
            key_norm, key = self._norm(key)
        rotations = [self._take("rotary", heads) for heads in (query, key)]
        (query,), (key,) = (rotation.outputs for rotation in rotations)
        attention = self._take("cached_attention", query, key, value)
        (merged,) = self._take("merge_heads", *attention.outputs).outputs
        output, x = self._residual(merged, x)
        mlp_norm, normed = self._norm(x)
        gate_up, (gate, up) = self._fused(normed, 2)
        activation = self._take("activation", gate)
        (hidden,) = self._take("multiply", *activation.outputs, up).outputs
        down, x = self._residual(hidden, x)
        frequencies = {rotation.settings["frequencies"] for rotation in rotations}
        layer = LoweredLayer(
            attention_norm=attention_norm,
            qkv=qkv,
            query_norm=query_norm,
            key_norm=key_norm,
            frequencies=frequencies.pop(),
            scores=attention.settings["scores"],
            output=output,
            mlp_norm=mlp_norm,
            gate_up=gate_up,
            activation=activation.settings["activation"],
            down=down,
        )
        return layer, x

    def _norm(self, x: RecordedTensor) -> tuple[RecordedWeight, RecordedTensor]:
        norm = self._take("rms_norm", x)
        self._eps.add(norm.settings["eps"])
        return norm.weights[0], norm.outputs[0]

    def _fused(self, x: RecordedTensor, count: int) -> tuple[Product, tuple[RecordedTensor, ...]]:
        """Products of one input that become one, or one that is split."""
        first = self._take("linear", x)
        if self._is_next("split"):
            split = self._take("split", *first.outputs)
            if len(split.outputs) != count:
                raise unsupported("an MLP without a gate")
            return _product(first), split.outputs
        if count == 2 and not self._is_next("linear"):
            raise unsupported("an MLP without a gate")
        linears = [first, *(self._take("linear", x) for _ in range(count - 1))]
        return _product(*linears), tuple(linear.outputs[0] for linear in linears)

    def _residual(self, part: RecordedTensor, x: RecordedTensor) -> tuple[Product, RecordedTensor]:
        linear = self._take("linear", part)
        (total,) = self._take("add", x, *linear.outputs).outputs
        return _product(linear), total

    def _is_next(self, kind: str) -> bool:
        return self._operations[self._next].kind == kind

    def _take(self, kind: str, *inputs: RecordedTensor) -> Operation:
        operation = self._operations[self._next]
        if operation.kind != kind or (inputs and operation.inputs != inputs):
            raise unsupported(
                "layers that are no norm, attention and residual, and then norm, gated MLP and "
                f"residual: it expects {kind} where the network has {operation.kind}"
            )
        self._next += 1
        return operation


def _product(*linears: Operation) -> Product:
    biases = [linear.weights[1] for linear in linears if len(linear.weights) > 1]
    return Product(weights=tuple(linear.weights[0] for linear in linears), biases=tuple(biases))
