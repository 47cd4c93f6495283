"""From a network's own definition to what the step computes, or the reason why it cannot.

The definition is recorded (`RecordingGraph`), and its operations are read in their order by
rules: query, key and value are one product; gate and up another; norms, rotation and residuals
belong to what they feed. What no rule reads is refused by name.
"""

from __future__ import annotations

import numpy as np

from llmasos_builder.architectures.network import Network
from llmasos_builder.graph import Activation
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.records import Operation, RecordedTensor
from llmasos_builder.native.lowered import LoweredLayer, LoweredNetwork, Norm, Product
from llmasos_builder.native.refusals import MAX_HEAD_SIZE, check_operations, unsupported


def lower(defined: Network, *, max_seq_len: int) -> LoweredNetwork:
    """Raises UnsupportedArchitectureError for what the step has no kernel for.

    max_seq_len: of the engine's sequences.
    """
    graph = RecordingGraph()
    defined.define(graph, lambda _, shape: np.broadcast_to(np.float32(0), shape), precision="int8")
    check_operations(graph.operations)
    network = _Reader(graph.operations).network()
    if network.positions is not None and network.positions.shape[0] < max_seq_len:
        raise unsupported(
            f"sequences of {max_seq_len} tokens with {network.positions.shape[0]} learned positions"
        )
    return network


class _Reader:
    """Reads operations one after the other; each must be the one that a rule expects."""

    def __init__(self, operations: list[Operation]) -> None:
        self._operations = operations
        self._next = 0
        self._norms: set[tuple[str, float]] = set()

    def network(self) -> LoweredNetwork:
        embedded = self._take("embed_tokens")
        (x,), layers = embedded.outputs, list[LoweredLayer]()
        embedding_norm = positions = None
        if self._is_norm(0) and (self._is_norm(1) or self._kind_after(1) == "embed_positions"):
            embedding_norm, x = self._norm(x)
        if self._is_next("embed_positions"):
            learned = self._take("embed_positions")
            (positions,) = learned.weights
            (x,) = self._take("add", x, *learned.outputs).outputs
        attentions = [o for o in self._operations if o.kind == "cached_attention"]
        for _ in attentions:
            layer, x = self._layer(x)
            layers.append(layer)
        final_norm, x = self._norm(x)
        (x,) = self._take("select_sampled", x).outputs
        head = self._take("linear", x)
        logit_cap = self._end(*head.outputs)
        query, key, _ = attentions[0].inputs
        if len(self._norms) != 1 or len({layer.kind for layer in layers}) != 1:
            raise unsupported("norms, activations or soft caps that differ between layers")
        ((norm, eps),) = self._norms
        _check_head_size(query.width)
        assert query.num_heads is not None and key.num_heads is not None
        return LoweredNetwork(
            embedding=embedded.weights[0],
            embedding_norm=embedding_norm,
            positions=positions,
            layers=tuple(layers),
            final_norm=final_norm,
            head=head.weights[0],
            logit_cap=logit_cap,
            norm_eps=eps,
            layer_norm=norm == "layer_norm",
            num_heads=query.num_heads,
            num_kv_heads=key.num_heads,
            head_size=query.width,
        )

    def _end(self, logits: RecordedTensor) -> float | None:
        """Reads what follows the head; the soft cap of logits, if any."""
        cap = None
        if self._is_next("soft_cap"):
            capped = self._take("soft_cap", logits)
            (logits,), cap = capped.outputs, float(capped.settings["cap"])
        self._take("output", logits)
        return cap

    def _layer(self, x: RecordedTensor) -> tuple[LoweredLayer, RecordedTensor]:
        attention_norm, normed = self._norm(x)
        qkv, projected = self._fused(normed, 3)
        query, key, value = (self._take("split_heads", part).outputs[0] for part in projected)
        query_norm = key_norm = None
        if self._is_next("rms_norm"):
            query_norm, query = self._norm(query)
            key_norm, key = self._norm(key)
        frequencies, query, key = self._rotation(query, key)
        attention = self._take("cached_attention", query, key, value)
        (merged,) = self._take("merge_heads", *attention.outputs).outputs
        output, output_norm, attended = self._residual(merged, x)
        mlp_norm, is_parallel = attention_norm, True
        if not self._is_next("linear"):
            is_parallel = self._operations[self._next].inputs == (x,)
            mlp_norm, normed = self._norm(x if is_parallel else attended)
        gate_up, activation, hidden = self._expansion(normed)
        down, down_norm, x = self._residual(hidden, attended)
        if (output_norm is None) != (down_norm is None):
            raise unsupported("a norm behind one of a layer's parts alone")
        layer = LoweredLayer(
            attention_norm=attention_norm,
            qkv=qkv,
            query_norm=query_norm,
            key_norm=key_norm,
            frequencies=frequencies,
            scores=attention.settings["scores"],
            output=output,
            output_norm=output_norm,
            mlp_norm=mlp_norm,
            gate_up=gate_up,
            activation=activation,
            down=down,
            down_norm=down_norm,
            parallel=is_parallel,
        )
        return layer, x

    def _rotation(
        self, query: RecordedTensor, key: RecordedTensor
    ) -> tuple[tuple[float, ...], RecordedTensor, RecordedTensor]:
        """Frequencies, and query and key after it; zeros where nothing rotates."""
        if not self._is_next("rotary"):
            return (0.0,) * (query.width // 2), query, key
        of_query, of_key = (self._take("rotary", heads) for heads in (query, key))
        return of_query.settings["frequencies"], of_query.outputs[0], of_key.outputs[0]

    def _norm(self, x: RecordedTensor) -> tuple[Norm, RecordedTensor]:
        kind = "layer_norm" if self._is_next("layer_norm") else "rms_norm"
        norm = self._take(kind, x)
        self._norms.add((kind, norm.settings["eps"]))
        return Norm(weight=norm.weights[0], bias=(*norm.weights, None)[1]), norm.outputs[0]

    def _expansion(self, x: RecordedTensor) -> tuple[Product, Activation, RecordedTensor]:
        """The MLP up to its hidden units, with a gate or without."""
        is_gated = self._kind_after(1) in ("split", "linear")
        gate_up, (gate, *up) = self._fused(x, 2 if is_gated else 1)
        activation = self._take("activation", gate)
        (hidden,) = activation.outputs
        for factor in up:
            (hidden,) = self._take("multiply", hidden, factor).outputs
        product = Product(weights=gate_up.weights, biases=gate_up.biases, is_gated=is_gated)
        return product, activation.settings["activation"], hidden

    def _fused(self, x: RecordedTensor, count: int) -> tuple[Product, tuple[RecordedTensor, ...]]:
        """Products of one input that become one, or one that is split."""
        first = self._take("linear", x)
        if self._is_next("split"):
            split = self._take("split", *first.outputs)
            if len(split.outputs) != count:
                raise unsupported(f"a product that is split into {len(split.outputs)}")
            return _product(first), split.outputs
        linears = [first, *(self._take("linear", x) for _ in range(count - 1))]
        return _product(*linears), tuple(linear.outputs[0] for linear in linears)

    def _residual(
        self, part: RecordedTensor, x: RecordedTensor
    ) -> tuple[Product, Norm | None, RecordedTensor]:
        """The product that ends a part, the norm behind it, if any, and x with the part added."""
        linear = self._take("linear", part)
        (added,), norm = linear.outputs, None
        if self._is_norm(0):
            norm, added = self._norm(added)
        (total,) = self._take("add", x, added).outputs
        return _product(linear), norm, total

    def _is_next(self, kind: str) -> bool:
        return self._kind_after(0) == kind

    def _is_norm(self, count: int) -> bool:
        return self._kind_after(count) in ("rms_norm", "layer_norm")

    def _kind_after(self, count: int) -> str:
        """What comes after so many operations."""
        return self._operations[self._next + count].kind

    def _take(self, kind: str, *inputs: RecordedTensor) -> Operation:
        operation = self._operations[self._next]
        if operation.kind != kind or (inputs and operation.inputs != inputs):
            raise unsupported(
                "layers that are no norm, attention and residual, and then norm, MLP and residual "
                f"(or both at once): it expects {kind} where the network has {operation.kind}"
            )
        self._next += 1
        return operation


def _product(*linears: Operation) -> Product:
    biases = [linear.weights[1] for linear in linears if len(linear.weights) > 1]
    return Product(weights=tuple(linear.weights[0] for linear in linears), biases=tuple(biases))


def _check_head_size(size: int) -> None:
    if size > MAX_HEAD_SIZE:
        raise unsupported(f"heads of {size} elements, more than {MAX_HEAD_SIZE}")
    if size % 2:
        raise unsupported(f"heads of {size} elements, an odd number")
