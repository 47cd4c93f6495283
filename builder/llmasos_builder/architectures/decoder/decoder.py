"""The decoder family: one definition for every network that a `DecoderSpec` can describe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Generic

import numpy as np
from llmasos.engine.plan import Precision

from llmasos_builder.architectures.decoder.qkv_layout import (
    Order,
    row_orders,
    unchanged,
    whole_head_frequencies,
)
from llmasos_builder.architectures.decoder.scaled_values import scaled_values
from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.architectures.network import Load, TensorT, WeightT
from llmasos_builder.graph import Array, Graph


def define_decoder(
    spec: DecoderSpec, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision
) -> None:
    """Defines the whole network on a graph.

    load: returns a tensor by its name and the shape that it must be stored in.
    precision: of matrices; norms and biases are f32.
    """
    layers = range(spec.num_layers)
    define_stage(spec, graph, load, precision=precision, layers=layers, hidden=None)


def define_body(
    spec: DecoderSpec, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision
) -> TensorT:
    """Defines all layers and returns the hidden states that the output head would take."""
    decoder = _Decoder(spec, graph, load, precision)
    return decoder.final(decoder.define_layers(decoder.embed(), range(spec.num_layers)))


def define_stage(
    spec: DecoderSpec,
    graph: Graph[TensorT, WeightT],
    load: Load,
    *,
    precision: Precision,
    layers: range,
    hidden: TensorT | None,
) -> TensorT | None:
    """Defines some neighbouring layers, as one stage of pipeline parallelism.

    hidden: hidden states from the layers before; None begins with the embedding. Returns the hidden
    states for the layers after; None if there are none, and the output head is defined.
    """
    assert (hidden is None) == (layers.start == 0) and layers.stop <= spec.num_layers
    decoder = _Decoder(spec, graph, load, precision)
    x = decoder.define_layers(decoder.embed() if hidden is None else hidden, layers)
    if layers.stop < spec.num_layers:
        return x
    decoder.define_head(x)
    return None


class _Decoder(Generic[TensorT, WeightT]):
    def __init__(
        self, spec: DecoderSpec, graph: Graph[TensorT, WeightT], load: Load, precision: Precision
    ) -> None:
        self._spec = spec
        self._graph = graph
        self._load = load
        self._precision: Precision = precision
        self._embedding_size = spec.embedding_size or spec.hidden_size

    def embed(self) -> TensorT:
        spec, names, graph = self._spec, self._spec.names, self._graph
        x = graph.embed_tokens(self._embedding)
        if names.embedding_norm is not None:
            x = self._norm(x, names.embedding_norm)
        if names.embedding_input is not None:
            shape = (spec.hidden_size, self._embedding_size)
            x = self._linear(x, names.embedding_input, shape=shape, bias=False)
        if names.positions is not None:
            end = spec.position_offset + spec.max_position_embeddings
            values = self._load(f"{names.positions}.weight", (end, spec.hidden_size))
            positions = self._matrix(names.positions, values[spec.position_offset :])
            x = graph.add(x, graph.embed_positions(positions))
        return x

    def define_layers(self, x: TensorT, layers: range) -> TensorT:
        for layer in layers:
            x = self._layer(x, layer)
        return x

    def final(self, x: TensorT, *, shrink: float = 1.0) -> TensorT:
        """The norm behind the last layer, if there is one. shrink: divides the result."""
        name = self._spec.names.final_norm
        return x if name is None else self._norm(x, name, shrink=shrink)

    def define_head(self, x: TensorT) -> None:
        spec, names, graph = self._spec, self._spec.names, self._graph
        # A tied head multiplies with the scaled embeddings.
        x = self.final(x, shrink=spec.embedding_scale if spec.tied else 1.0)
        if names.embedding_output is not None:
            shape = (self._embedding_size, spec.hidden_size)
            x = self._linear(x, names.embedding_output, shape=shape, bias=False)
        head = self._embedding if spec.tied else self._embeddings(names.head)
        logits = graph.linear(graph.select_sampled(x), head)
        graph.output(logits if spec.logit_cap is None else graph.soft_cap(logits, spec.logit_cap))

    @cached_property
    def _embedding(self) -> WeightT:
        return self._embeddings(self._spec.names.embedding, scale=self._spec.embedding_scale)

    def _layer(self, x: TensorT, layer: int) -> TensorT:
        names, graph = self._spec.names, self._graph
        prefix = names.layer.format(layer)
        attention_norm, mlp_norm = prefix + names.attention_norm, prefix + names.mlp_norm
        if self._spec.residual == "norm_last":
            x = self._norm(graph.add(x, self._attention(x, prefix, layer)), attention_norm)
            return self._norm(graph.add(x, self._mlp(x, prefix)), mlp_norm)
        normed = self._norm(x, attention_norm)
        attended = graph.add(x, self._attention(normed, prefix, layer))
        if mlp_norm != attention_norm:
            normed = self._norm(x if self._spec.residual == "parallel" else attended, mlp_norm)
        return graph.add(attended, self._mlp(normed, prefix))

    def _attention(self, x: TensorT, prefix: str, layer: int) -> TensorT:
        spec, graph = self._spec, self._graph
        query, key, value = self._heads(x, prefix)
        if spec.names.head_norms is not None:
            query_norm, key_norm = spec.names.head_norms
            query = self._norm(query, prefix + query_norm, size=spec.head_size)
            key = self._norm(key, prefix + key_norm, size=spec.head_size)
        frequencies = whole_head_frequencies(spec, layer)
        if frequencies is not None:
            query, key = (graph.rotary(heads, frequencies) for heads in (query, key))
        scores = spec.scores(layer)
        attended = graph.merge_heads(graph.cached_attention(query, key, value, scores=scores))
        output = self._linear(
            attended,
            prefix + spec.names.attention_output,
            shape=(spec.hidden_size, spec.num_heads * spec.head_size),
            bias=spec.attention_output_bias,
        )
        norm = spec.names.attention_output_norm
        return output if norm is None else self._norm(output, prefix + norm)

    def _heads(self, x: TensorT, prefix: str) -> tuple[TensorT, ...]:
        """Returns query, key and value."""
        spec = self._spec
        counts = (spec.num_heads, spec.num_kv_heads, spec.num_kv_heads)
        projected = self._projections(
            x,
            [prefix + name for name in spec.names.attention_inputs],
            widths=[count * spec.head_size for count in counts],
            bias=spec.attention_input_bias,
            orders=row_orders(spec),
        )
        return tuple(map(self._graph.split_heads, projected, counts))

    def _mlp(self, x: TensorT, prefix: str) -> TensorT:
        spec, graph = self._spec, self._graph
        inner = spec.intermediate_size
        gate, *up = self._projections(
            x,
            [prefix + name for name in spec.names.mlp_inputs],
            widths=[inner, inner] if spec.gated else [inner],
            bias=spec.mlp_bias,
        )
        x = graph.activation(gate, spec.activation)
        for factor in up:
            x = graph.multiply(x, factor)
        output = self._linear(
            x, prefix + spec.names.mlp_output, shape=(spec.hidden_size, inner), bias=spec.mlp_bias
        )
        norm = spec.names.mlp_output_norm
        return output if norm is None else self._norm(output, prefix + norm)

    def _projections(
        self,
        x: TensorT,
        names: Sequence[str],
        *,
        widths: Sequence[int],
        bias: bool,
        orders: Sequence[Order] | None = None,
    ) -> tuple[TensorT, ...]:
        """Returns several projections of x, which are stored separately or as one."""
        alone = len(names) == len(widths)
        heights = widths if alone else [sum(widths)]
        orders = orders or [unchanged] * len(names)
        stored = [
            self._weights(name, shape=(rows, self._spec.hidden_size), bias=bias, order=order)
            for name, rows, order in zip(names, heights, orders, strict=True)
        ]
        biases = [vector for _, vector in stored if vector is not None]
        outputs = self._graph.linears(x, [weight for weight, _ in stored], biases or None)
        return outputs if alone else self._graph.split(outputs[0], widths)

    def _linear(self, x: TensorT, name: str, *, shape: tuple[int, int], bias: bool) -> TensorT:
        return self._graph.linear(x, *self._weights(name, shape=shape, bias=bias))

    def _weights(
        self, name: str, *, shape: tuple[int, int], bias: bool, order: Order = unchanged
    ) -> tuple[WeightT, WeightT | None]:
        """order: rearranges the rows of weight and bias if their stored order differs."""
        values = (
            self._load(f"{name}.weight", shape[::-1]).T
            if self._spec.names.linears_transposed
            else self._load(f"{name}.weight", shape)
        )
        weight = self._matrix(name, order(values))
        return weight, self._vector(f"{name}.bias", shape[0], order) if bias else None

    def _norm(
        self, x: TensorT, name: str, *, size: int | None = None, shrink: float = 1.0
    ) -> TensorT:
        """size: width that is normalized; None is the hidden state's. shrink: divides the
        result.
        """
        spec, graph = self._spec, self._graph
        size = size or spec.hidden_size
        weight = self._norm_weight(name, size, shrink)
        if spec.norm == "rms":
            return graph.rms_norm(x, weight, eps=spec.norm_eps)
        bias = self._vector(f"{name}.bias", size) if spec.norm_affine else None
        return graph.layer_norm(x, weight, bias, eps=spec.norm_eps)

    def _norm_weight(self, name: str, size: int, shrink: float) -> WeightT:
        if not self._spec.norm_affine:
            ones = np.broadcast_to(np.float32(1), (size,))
            return self._graph.weight(f"{name}.ones", ones, "f32")
        stored = self._load(f"{name}.weight", (size,))
        values = scaled_values(stored, factor=1 / shrink, offset=self._spec.norm_offset / shrink)
        return self._graph.weight(f"{name}.weight", values, "f32")

    def _vector(self, name: str, size: int, order: Order = unchanged) -> WeightT:
        return self._graph.weight(name, order(self._load(name, (size,))), "f32")

    def _embeddings(self, name: str, *, scale: float = 1.0) -> WeightT:
        stored = self._load(f"{name}.weight", (self._spec.vocab_size, self._embedding_size))
        return self._matrix(name, scaled_values(stored, factor=scale))

    def _matrix(self, name: str, values: Array) -> WeightT:
        return self._graph.weight(f"{name}.weight", values, self._precision)
