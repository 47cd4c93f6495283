"""The decoder family: one definition for every network that a `DecoderSpec` can describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from llmasos.plan import Precision

from llmasos_builder.architectures.spec import DecoderSpec
from llmasos_builder.graph import Array, Graph

TensorT = TypeVar("TensorT")
WeightT = TypeVar("WeightT")
Load = Callable[[str, tuple[int, ...]], Array]


def define_decoder(
    spec: DecoderSpec, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision
) -> None:
    """Define the whole network on a graph.

    load: gives a tensor by its name; it is told the shape that the tensor must be stored in.
    precision: of matrices; norms and biases are f32.
    """
    _Decoder(spec, graph, load, precision).define()


class _Decoder(Generic[TensorT, WeightT]):
    def __init__(
        self, spec: DecoderSpec, graph: Graph[TensorT, WeightT], load: Load, precision: Precision
    ) -> None:
        self._spec = spec
        self._graph = graph
        self._load = load
        self._precision: Precision = precision

    def define(self) -> None:
        spec, names, graph = self._spec, self._spec.names, self._graph
        embedding = self._table(names.embedding, spec.vocab_size)
        x = graph.embed_tokens(embedding)
        if names.positions is not None:
            positions = self._table(names.positions, spec.max_position_embeddings)
            x = graph.add(x, graph.embed_positions(positions))
        for layer in range(spec.num_layers):
            x = self._layer(x, layer)
        x = graph.select_sampled(self._norm(x, names.final_norm))
        head = embedding if spec.tied else self._table(names.head, spec.vocab_size)
        graph.output(graph.linear(x, head))

    def _layer(self, x: TensorT, layer: int) -> TensorT:
        names = self._spec.names
        prefix = names.layer.format(layer)
        scale = self._spec.attention_scales[layer]
        normed = self._norm(x, prefix + names.attention_norm)
        x = self._graph.add(x, self._attention(normed, prefix, scale))
        normed = self._norm(x, prefix + names.mlp_norm)
        return self._graph.add(x, self._mlp(normed, prefix))

    def _attention(self, x: TensorT, prefix: str, scale: float) -> TensorT:
        spec, graph = self._spec, self._graph
        heads = (spec.num_heads, spec.num_kv_heads, spec.num_kv_heads)
        projected = self._projections(
            x,
            [prefix + name for name in spec.names.attention_inputs],
            widths=[count * spec.head_size for count in heads],
            bias=spec.attention_input_bias,
        )
        query, key, value = map(graph.split_heads, projected, heads)
        if spec.rotary_frequencies is not None:
            query = graph.rotary(query, spec.rotary_frequencies)
            key = graph.rotary(key, spec.rotary_frequencies)
        attended = graph.merge_heads(graph.cached_attention(query, key, value, scale=scale))
        return self._linear(
            attended,
            prefix + spec.names.attention_output,
            shape=(spec.hidden_size, spec.num_heads * spec.head_size),
            bias=spec.attention_output_bias,
        )

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
        return self._linear(
            x, prefix + spec.names.mlp_output, shape=(spec.hidden_size, inner), bias=spec.mlp_bias
        )

    def _projections(
        self, x: TensorT, names: Sequence[str], *, widths: Sequence[int], bias: bool
    ) -> tuple[TensorT, ...]:
        """Several projections of x, stored each alone or all in one."""
        columns = self._spec.hidden_size
        if len(names) == len(widths):
            return tuple(
                self._linear(x, name, shape=(rows, columns), bias=bias)
                for name, rows in zip(names, widths, strict=True)
            )
        (name,) = names
        joined = self._linear(x, name, shape=(sum(widths), columns), bias=bias)
        return self._graph.split(joined, widths)

    def _linear(self, x: TensorT, name: str, *, shape: tuple[int, int], bias: bool) -> TensorT:
        values = (
            self._load(f"{name}.weight", shape[::-1]).T
            if self._spec.names.linears_transposed
            else self._load(f"{name}.weight", shape)
        )
        weight = self._graph.weight(f"{name}.weight", values, self._precision)
        vector = self._vector(f"{name}.bias", shape[0]) if bias else None
        return self._graph.linear(x, weight, vector)

    def _norm(self, x: TensorT, name: str) -> TensorT:
        spec, graph = self._spec, self._graph
        weight = self._vector(f"{name}.weight")
        if spec.norm == "rms":
            return graph.rms_norm(x, weight, eps=spec.norm_eps)
        bias = self._vector(f"{name}.bias")
        return graph.layer_norm(x, weight, bias, eps=spec.norm_eps)

    def _vector(self, name: str, size: int | None = None) -> WeightT:
        """A vector in f32, as long as the hidden state is wide if not said otherwise."""
        values = self._load(name, (size or self._spec.hidden_size,))
        return self._graph.weight(name, values, "f32")

    def _table(self, name: str, rows: int) -> WeightT:
        values = self._load(f"{name}.weight", (rows, self._spec.hidden_size))
        return self._graph.weight(f"{name}.weight", values, self._precision)
