"""One definition for every network that an `EncoderDecoderSpec` can describe."""

from __future__ import annotations

from functools import cached_property
from typing import Generic

from llmasos.engine.plan import Precision

from llmasos_builder.architectures.encoder.spec import Distances
from llmasos_builder.architectures.encoder_decoder.spec import (
    AttentionNames,
    EncoderDecoderSpec,
    StackNames,
    StackSizes,
)
from llmasos_builder.architectures.network import Load, TensorT, WeightT
from llmasos_builder.graph import AttentionScores, Graph


class EncoderDecoderDefinition(Generic[TensorT, WeightT]):
    """Defines the parts of one network on a graph. precision: of matrices; all else is f32."""

    def __init__(
        self,
        spec: EncoderDecoderSpec,
        graph: Graph[TensorT, WeightT],
        load: Load,
        precision: Precision,
    ) -> None:
        self._spec = spec
        self._graph = graph
        self._load = load
        self._precision: Precision = precision

    def encoder(self) -> None:
        """Defines the encoder, and the keys and values that each decoder layer has of it."""
        spec, graph = self._spec, self._graph
        stack = _Stack(self, spec.names.encoder, spec.encoder, spec.encoder_distances)
        hidden = stack.hidden()
        names = spec.names.decoder
        assert names.cross is not None
        for layer in range(spec.decoder.num_layers):
            prefix = names.layer.format(layer)
            parts = self.projections(
                hidden, prefix, (names.cross.key, names.cross.value), spec.decoder.num_heads
            )
            graph.keep_encoded(*parts)

    def decoder(self) -> None:
        """Defines the decoder and its head."""
        spec, graph, names = self._spec, self._graph, self._spec.names
        stack = _Stack(self, names.decoder, spec.decoder, spec.decoder_distances)
        x = graph.select_sampled(stack.hidden())
        if spec.head_scale != 1:
            x = graph.scale(x, spec.head_scale)
        shape = (spec.vocab_size, spec.hidden_size)
        head = self.tokens if spec.tied else self.matrix(names.head, shape)
        bias = None
        if names.head_bias is not None:
            values = self._load(names.head_bias, (1, spec.vocab_size))[0]
            bias = graph.weight(names.head_bias, values, "f32")
        graph.output(graph.linear(x, head, bias))

    @cached_property
    def tokens(self) -> WeightT:
        """The token embedding of both parts."""
        return self.matrix(
            self._spec.names.embedding, (self._spec.vocab_size, self._spec.hidden_size)
        )

    def matrix(self, name: str, shape: tuple[int, int]) -> WeightT:
        """A matrix by the name of its part."""
        name = f"{name}.weight"
        return self._graph.weight(name, self._load(name, shape), self._precision)

    def vector(self, name: str, size: int) -> WeightT:
        """A vector by its whole name."""
        return self._graph.weight(name, self._load(name, (size,)), "f32")

    def projections(
        self, x: TensorT, prefix: str, parts: tuple[str, ...], num_heads: int
    ) -> tuple[TensorT, ...]:
        """Linears of x in heads."""
        spec, graph = self._spec, self._graph
        size = num_heads * spec.head_size
        names = [prefix + part for part in parts]
        weights = [self.matrix(name, (size, spec.hidden_size)) for name in names]
        biases = [self.vector(f"{n}.bias", size) for n in names] if spec.has_bias else None
        made = graph.linears(x, weights, biases)
        return tuple(graph.split_heads(part, num_heads) for part in made)

    def linear(self, x: TensorT, name: str, shape: tuple[int, int]) -> TensorT:
        """A linear by the name of its part; shape: [out, in]."""
        bias = self.vector(f"{name}.bias", shape[0]) if self._spec.has_bias else None
        return self._graph.linear(x, self.matrix(name, shape), bias)

    def norm(self, x: TensorT, name: str) -> TensorT:
        """A norm of hidden states."""
        spec = self._spec
        weight = self.vector(f"{name}.weight", spec.hidden_size)
        if spec.norm == "rms":
            return self._graph.rms_norm(x, weight, eps=spec.norm_eps)
        bias = self.vector(f"{name}.bias", spec.hidden_size)
        return self._graph.layer_norm(x, weight, bias, eps=spec.norm_eps)

    def mlp(self, x: TensorT, prefix: str, names: StackNames, inner: int) -> TensorT:
        """The MLP of a layer."""
        spec, graph = self._spec, self._graph
        parts = [prefix + part for part in names.mlp_inputs]
        weights = [self.matrix(name, (inner, spec.hidden_size)) for name in parts]
        biases = [self.vector(f"{n}.bias", inner) for n in parts] if spec.has_bias else None
        made = graph.linears(x, weights, biases)
        x = graph.activation(made[0], spec.activation)
        if spec.gated:
            x = graph.multiply(x, made[1])
        return self.linear(x, prefix + names.mlp_output, (spec.hidden_size, inner))

    def embed(self, names: StackNames) -> TensorT:
        """The hidden states before the first layer."""
        spec, graph = self._spec, self._graph
        x = graph.embed_tokens(self.tokens)
        if spec.embedding_scale != 1:
            x = graph.scale(x, spec.embedding_scale)
        if names.positions is not None:
            end = spec.position_offset + spec.max_position_embeddings
            name = f"{names.positions}.weight"
            values = self._load(name, (end, spec.hidden_size))[spec.position_offset :]
            x = graph.add(x, graph.embed_positions(graph.weight(name, values, "f32")))
        elif spec.sinusoids is not None:
            name = f"{names.layer.format('')}sinusoids"
            x = graph.add(x, graph.embed_positions(graph.weight(name, spec.sinusoids, "f32")))
        return x if names.embedding_norm is None else self.norm(x, names.embedding_norm)

    def distance_bias(
        self, name: str | None, distances: Distances | None, num_heads: int
    ) -> WeightT | None:
        """The bias of each distance, from its bucket's row."""
        if name is None or distances is None:
            return None
        table = self._load(f"{name}.weight", (distances.num_buckets, num_heads))
        return self._graph.weight(f"{name}.weight", distances.rows(table), "f32")

    @property
    def spec(self) -> EncoderDecoderSpec:
        """What is defined."""
        return self._spec

    @property
    def graph(self) -> Graph[TensorT, WeightT]:
        """Where it is defined."""
        return self._graph


class _Stack(Generic[TensorT, WeightT]):
    """The layers of the encoder or the decoder."""

    def __init__(
        self,
        whole: EncoderDecoderDefinition[TensorT, WeightT],
        names: StackNames,
        sizes: StackSizes,
        distances: Distances | None,
    ) -> None:
        self._whole = whole
        self._spec = whole.spec
        self._graph = whole.graph
        self._names = names
        self._sizes = sizes
        self._bias = whole.distance_bias(names.distances, distances, sizes.num_heads)

    def hidden(self) -> TensorT:
        """The hidden states behind the last layer."""
        x = self._whole.embed(self._names)
        for layer in range(self._sizes.num_layers):
            x = self._layer(x, self._names.layer.format(layer))
        final = self._names.final_norm
        return x if final is None else self._whole.norm(x, final)

    def _layer(self, x: TensorT, prefix: str) -> TensorT:
        names = self._names
        attention, cross = names.attention, names.cross
        y = self._before(x, prefix + attention.norm)
        x = self._after(x, self._attention(y, prefix, attention), prefix + attention.norm)
        if cross is not None:
            y = self._before(x, prefix + cross.norm)
            x = self._after(x, self._cross_attention(y, prefix, cross), prefix + cross.norm)
        y = self._before(x, prefix + names.mlp_norm)
        y = self._whole.mlp(y, prefix, names, self._sizes.intermediate_size)
        return self._after(x, y, prefix + names.mlp_norm)

    def _before(self, x: TensorT, norm: str) -> TensorT:
        return self._whole.norm(x, norm) if self._spec.norm_first else x

    def _after(self, x: TensorT, part: TensorT, norm: str) -> TensorT:
        total = self._graph.add(x, part)
        return total if self._spec.norm_first else self._whole.norm(total, norm)

    @property
    def _scores(self) -> AttentionScores:
        return AttentionScores(scale=self._spec.attention_scale)

    def _attention(self, x: TensorT, prefix: str, names: AttentionNames) -> TensorT:
        parts = (names.query, names.key, names.value)
        heads = self._whole.projections(x, prefix, parts, self._sizes.num_heads)
        is_decoder = self._names.cross is not None
        attend = self._graph.cached_attention if is_decoder else self._graph.attention
        attended = attend(*heads, scores=self._scores, distance_bias=self._bias)
        return self._output(attended, prefix + names.output)

    def _cross_attention(self, x: TensorT, prefix: str, names: AttentionNames) -> TensorT:
        (query,) = self._whole.projections(x, prefix, (names.query,), self._sizes.num_heads)
        attended = self._graph.cross_attention(query, scores=self._scores)
        return self._output(attended, prefix + names.output)

    def _output(self, attended: TensorT, name: str) -> TensorT:
        spec = self._spec
        shape = (spec.hidden_size, self._sizes.num_heads * spec.head_size)
        return self._whole.linear(self._graph.merge_heads(attended), name, shape)
