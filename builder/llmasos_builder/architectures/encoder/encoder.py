"""The encoder family: one definition for every network that an `EncoderSpec` can describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Generic

from llmasos.engine.plan import Precision

from llmasos_builder.architectures.encoder.head import Head, HeadLinear
from llmasos_builder.architectures.encoder.spec import EncoderSpec
from llmasos_builder.architectures.network import Load, TensorT, WeightT
from llmasos_builder.graph import Array, AttentionScores, Graph


def define_encoder(
    spec: EncoderSpec, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision
) -> None:
    """Defines the whole network on a graph. precision: of matrices, all else is f32."""
    encoder = _Encoder(spec, graph, load, precision)
    x = encoder.embed()
    for layer in range(spec.num_layers):
        x = encoder.layer(x, layer)
    if spec.names.final_norm is not None:
        x = encoder.norm(x, spec.names.final_norm)
    head = HeadDefinition(graph, load, precision, tokens=lambda: encoder.tokens)
    head.define(x, spec.head, width=spec.hidden_size)


class HeadDefinition(Generic[TensorT, WeightT]):
    """Defines what stands behind the layers. tokens: gives the token embedding, where it is the
    last matrix too.
    """

    def __init__(
        self,
        graph: Graph[TensorT, WeightT],
        load: Load,
        precision: Precision,
        *,
        tokens: Callable[[], WeightT] | None,
    ) -> None:
        self._graph = graph
        self._load = load
        self._precision: Precision = precision
        self._tokens = tokens

    def define(self, x: TensorT, head: Head, *, width: int) -> None:
        """Ends the network. width: of x."""
        graph = self._graph
        if head.selects:
            x = graph.select_sampled(x)
        if head.pooling:
            pooled = [graph.pool(x, kind) for kind in head.pooling]
            x = pooled[0] if len(pooled) == 1 else graph.concat(pooled)
            width *= len(pooled)
        for layer in head.layers:
            if isinstance(layer, HeadLinear):
                x, width = self._linear(x, layer, width), layer.size
            else:
                scale = self._vector(f"{layer.name}.weight", width)
                bias = self._vector(f"{layer.name}.bias", width) if layer.has_bias else None
                x = graph.layer_norm(x, scale, bias, eps=layer.eps)
        graph.output(graph.normalize(x) if head.normalizes else x)

    def _linear(self, x: TensorT, layer: HeadLinear, width: int) -> TensorT:
        if layer.name is None:
            assert self._tokens is not None
            weight = self._tokens()
        else:
            name = f"{layer.name}.weight"
            weight = self._graph.weight(
                name, self._load(name, (layer.size, width)), self._precision
            )
        bias = None if layer.bias is None else self._vector(layer.bias, layer.size)
        x = self._graph.linear(x, weight, bias)
        return x if layer.activation is None else self._graph.activation(x, layer.activation)

    def _vector(self, name: str, size: int) -> WeightT:
        return self._graph.weight(name, self._load(name, (size,)), "f32")


class _Encoder(Generic[TensorT, WeightT]):
    def __init__(
        self, spec: EncoderSpec, graph: Graph[TensorT, WeightT], load: Load, precision: Precision
    ) -> None:
        self._spec = spec
        self._graph = graph
        self._load = load
        self._precision: Precision = precision

    @cached_property
    def tokens(self) -> WeightT:
        """The token embedding."""
        spec = self._spec
        name = f"{spec.names.tokens}.weight"
        values = self._load(name, (spec.vocab_size, spec.hidden_size))
        return self._graph.weight(name, values, self._precision)

    def embed(self) -> TensorT:
        spec, names, graph = self._spec, self._spec.names, self._graph
        x = graph.embed_tokens(self.tokens)
        if names.token_types is not None:
            table = self._table(names.token_types, spec.num_token_types)
            x = graph.add(x, graph.embed_token_types(table))
        if names.positions is not None:
            name = f"{names.positions}.weight"
            end = spec.position_offset + spec.max_position_embeddings
            values = self._load(name, (end, spec.hidden_size))[spec.position_offset :]
            x = graph.add(x, graph.embed_positions(graph.weight(name, values, "f32")))
        return self.norm(x, names.embedding_norm)

    def layer(self, x: TensorT, layer: int) -> TensorT:
        names, graph = self._spec.names, self._graph
        prefix = names.layer.format(layer)
        attention_norm, mlp_norm = prefix + names.attention_norm, prefix + names.mlp_norm
        if not self._spec.norm_first:
            x = self.norm(graph.add(x, self._attention(x, prefix, layer)), attention_norm)
            return self.norm(graph.add(x, self._mlp(x, prefix)), mlp_norm)
        has_norm = layer > 0 or self._spec.first_norm
        normed = self.norm(x, attention_norm) if has_norm else x
        x = graph.add(x, self._attention(normed, prefix, layer))
        return graph.add(x, self._mlp(self.norm(x, mlp_norm), prefix))

    def norm(self, x: TensorT, name: str) -> TensorT:
        spec = self._spec
        weight = self._vector(f"{name}.weight", spec.hidden_size)
        bias = self._vector(f"{name}.bias", spec.hidden_size) if spec.norm_bias else None
        return self._graph.layer_norm(x, weight, bias, eps=spec.norm_eps)

    def _attention(self, x: TensorT, prefix: str, layer: int) -> TensorT:
        spec, graph = self._spec, self._graph
        query, key, value = (
            graph.split_heads(part, spec.num_heads) for part in self._projected(x, prefix)
        )
        if spec.layer_frequencies is not None:
            frequencies = spec.layer_frequencies[layer]
            query, key = graph.rotary(query, frequencies), graph.rotary(key, frequencies)
        window = None if spec.layer_windows is None else spec.layer_windows[layer]
        scores = AttentionScores(scale=spec.head_size**-0.5, window=window)
        attended = graph.attention(
            query, key, value, scores=scores, distance_bias=self._distance_bias
        )
        name, size = prefix + spec.names.attention_output, spec.hidden_size
        return self._linear(graph.merge_heads(attended), name, (size, size), spec.linear_bias)

    def _projected(self, x: TensorT, prefix: str) -> Sequence[TensorT]:
        """Returns query, key and value, which are stored separately or as one."""
        spec, size = self._spec, self._spec.hidden_size
        names = [prefix + name for name in spec.names.attention_inputs]
        if len(names) == 1:
            joined = self._linear(x, names[0], (3 * size, size), spec.linear_bias)
            return self._graph.split(joined, [size] * 3)
        weights = [self._matrix(name, (size, size)) for name in names]
        biases = [self._vector(f"{n}.bias", size) for n in names] if spec.linear_bias else None
        return self._graph.linears(x, weights, biases)

    @cached_property
    def _distance_bias(self) -> WeightT | None:
        spec, name = self._spec, self._spec.names.distances
        if name is None or spec.distances is None:
            return None
        buckets = spec.distances
        table = self._load(f"{name}.weight", (buckets.num_buckets, spec.num_heads))
        return self._graph.weight(f"{name}.weight", buckets.rows(table), "f32")

    def _mlp(self, x: TensorT, prefix: str) -> TensorT:
        spec, graph = self._spec, self._graph
        inner = spec.intermediate_size
        width = 2 * inner if spec.gated else inner
        name = prefix + spec.names.mlp_inputs
        x = self._linear(x, name, (width, spec.hidden_size), spec.mlp_bias)
        if spec.gated:
            activated, gate = graph.split(x, [inner, inner])
            x = graph.multiply(graph.activation(activated, spec.activation), gate)
        else:
            x = graph.activation(x, spec.activation)
        name = prefix + spec.names.mlp_output
        return self._linear(x, name, (spec.hidden_size, inner), spec.mlp_bias)

    def _linear(self, x: TensorT, name: str, shape: tuple[int, int], has_bias: bool) -> TensorT:
        bias = self._vector(f"{name}.bias", shape[0]) if has_bias else None
        return self._graph.linear(x, self._matrix(name, shape), bias)

    def _matrix(self, name: str, shape: tuple[int, int]) -> WeightT:
        name = f"{name}.weight"
        return self._graph.weight(name, self._load(name, shape), self._precision)

    def _table(self, name: str, num_rows: int) -> WeightT:
        name = f"{name}.weight"
        values: Array = self._load(name, (num_rows, self._spec.hidden_size))
        return self._graph.weight(name, values, "f32")

    def _vector(self, name: str, size: int) -> WeightT:
        return self._graph.weight(name, self._load(name, (size,)), "f32")
