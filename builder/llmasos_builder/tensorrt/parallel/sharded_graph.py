"""Builds the network of one rank from the same definition as the whole (arXiv:1909.08053).

A definition asks for whole tensors. It gets either a tensor common to all ranks, or a rank's own
columns or heads, depending on how the weights before it are sliced. A sum over ranks is delayed
as long as additions allow, so that the two parts of a layer with parallel residuals share one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmasos.engine.plan import Precision

from llmasos_builder.graph import Activation, Array, AttentionScores, each_linear
from llmasos_builder.graph.refused_operations import DecodersOnly
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.parallel.collectives import all_reduce
from llmasos_builder.tensorrt.parallel.rank import Rank
from llmasos_builder.tensorrt.parallel.vocabulary import embed_own, output_candidates_of_all
from llmasos_builder.tensorrt.weight_slice import WeightSlice
from llmasos_builder.tensorrt.weights import TensorRTWeight


@dataclass(slots=True, kw_only=True)
class Common:
    """A tensor of all ranks: `whole`, plus the sum of the `part` of each rank."""

    whole: Any = None
    part: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Columns or heads of one rank alone; widths: those of the parts that it can be split into."""

    tensor: Any
    widths: tuple[int, ...] = ()


ShardedTensor = Common | Own


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedWeight:
    """weight_slice: the part that this rank keeps; None keeps all of it."""

    weight: TensorRTWeight
    weight_slice: WeightSlice | None


class ShardedGraph(DecodersOnly):
    """Implements `Graph` for one rank on a TensorRT network.

    slices: the part of each weight that this rank keeps (`tensor_parallel_plan`).
    embedding: name of the token embedding, which is not quantized even if this stage has it only as
    its output head.
    """

    compiler = "target tensorrt"

    def __init__(
        self, graph: TensorRTGraph, rank: Rank, slices: Mapping[str, WeightSlice], *, embedding: str
    ) -> None:
        self._graph = graph
        self._rank = rank
        self._slices = slices
        self._embedding = embedding

    def hidden_input(self, width: int) -> Common:
        """Hidden states from the stage before."""
        return Common(whole=self._graph.hidden_input(width))

    def hidden_output(self, x: ShardedTensor) -> None:
        """Passes hidden states to the stage after."""
        self._graph.hidden_output(self._whole(x))

    def weight(self, name: str, values: Array, precision: Precision) -> ShardedWeight:
        weight_slice = self._slices.get(name)
        precision = self._graph.options.compute_type if name == self._embedding else precision
        return ShardedWeight(
            weight=self._graph.weight(name, values, precision, weight_slice),
            weight_slice=weight_slice,
        )

    def embed_tokens(self, table: ShardedWeight) -> ShardedTensor:
        if table.weight_slice is None:
            return Common(whole=self._graph.embed_tokens(table.weight))
        (own,) = table.weight_slice.rows
        graph = self._graph
        rows = embed_own(graph.layers, graph.inputs.flat_ids, table.weight.table(), own)
        return Common(part=rows)

    def embed_positions(self, table: ShardedWeight) -> ShardedTensor:
        return Common(whole=self._graph.embed_positions(table.weight))

    def linear(
        self, x: ShardedTensor, weight: ShardedWeight, bias: ShardedWeight | None = None
    ) -> ShardedTensor:
        weight_slice, vector = weight.weight_slice, None if bias is None else bias.weight
        if weight_slice is not None and weight_slice.columns is not None:
            # The bias is a part of the sum once.
            vector = vector if self._rank.part == 0 else None
            return Common(part=self._graph.linear(_own(x).tensor, weight.weight, vector))
        product = self._graph.linear(self._whole(x), weight.weight, vector)
        if weight_slice is None:
            return Common(whole=product)
        return Own(tensor=product, widths=tuple(map(len, weight_slice.rows)))

    def linears(
        self,
        x: ShardedTensor,
        weights: Sequence[ShardedWeight],
        biases: Sequence[ShardedWeight] | None = None,
    ) -> tuple[ShardedTensor, ...]:
        return each_linear(self, x, weights, biases)

    def rms_norm(self, x: ShardedTensor, weight: ShardedWeight, *, eps: float) -> ShardedTensor:
        normed = self._graph.rms_norm(self._normed(x), weight.weight, eps=eps)
        return Own(tensor=normed) if isinstance(x, Own) else Common(whole=normed)

    def layer_norm(
        self, x: ShardedTensor, weight: ShardedWeight, bias: ShardedWeight | None, *, eps: float
    ) -> ShardedTensor:
        shift = None if bias is None else bias.weight
        normed = self._graph.layer_norm(self._normed(x), weight.weight, shift, eps=eps)
        return Own(tensor=normed) if isinstance(x, Own) else Common(whole=normed)

    def activation(self, x: ShardedTensor, kind: Activation) -> ShardedTensor:
        if isinstance(x, Own):
            return Own(tensor=self._graph.activation(x.tensor, kind), widths=x.widths)
        return Common(whole=self._graph.activation(self._whole(x), kind))

    def soft_cap(self, x: ShardedTensor, cap: float) -> ShardedTensor:
        if isinstance(x, Own):
            return Own(tensor=self._graph.soft_cap(x.tensor, cap), widths=x.widths)
        return Common(whole=self._graph.soft_cap(self._whole(x), cap))

    def add(self, a: ShardedTensor, b: ShardedTensor) -> ShardedTensor:
        if isinstance(a, Own) and isinstance(b, Own):
            return Own(tensor=self._graph.add(a.tensor, b.tensor), widths=a.widths)
        assert isinstance(a, Common) and isinstance(b, Common), "own columns and common ones"
        return Common(whole=self._sum(a.whole, b.whole), part=self._sum(a.part, b.part))

    def multiply(self, a: ShardedTensor, b: ShardedTensor) -> ShardedTensor:
        if isinstance(a, Own) and isinstance(b, Own):
            return Own(tensor=self._graph.multiply(a.tensor, b.tensor), widths=a.widths)
        return Common(whole=self._graph.multiply(self._whole(a), self._whole(b)))

    def split(self, x: ShardedTensor, widths: Sequence[int]) -> tuple[ShardedTensor, ...]:
        if isinstance(x, Own):
            assert len(x.widths) == len(widths)
            parts = self._graph.split(x.tensor, x.widths)
            return tuple(
                Own(tensor=part, widths=(width,))
                for part, width in zip(parts, x.widths, strict=True)
            )
        return tuple(Common(whole=part) for part in self._graph.split(self._whole(x), widths))

    def concat(self, parts: Sequence[ShardedTensor]) -> ShardedTensor:
        return Common(whole=self._graph.concat([self._whole(part) for part in parts]))

    def split_heads(self, x: ShardedTensor, num_heads: int) -> ShardedTensor:
        if isinstance(x, Common):
            return Common(whole=self._graph.split_heads(self._whole(x), num_heads))
        return Own(tensor=self._graph.split_heads(x.tensor, len(self._rank.heads(num_heads))))

    def merge_heads(self, x: ShardedTensor) -> ShardedTensor:
        if isinstance(x, Common):
            return Common(whole=self._graph.merge_heads(self._whole(x)))
        return Own(tensor=self._graph.merge_heads(x.tensor))

    def rotary(self, x: ShardedTensor, frequencies: tuple[float, ...]) -> ShardedTensor:
        if isinstance(x, Common):
            return Common(whole=self._graph.rotary(self._whole(x), frequencies))
        return Own(tensor=self._graph.rotary(x.tensor, frequencies))

    def cached_attention(
        self,
        query: ShardedTensor,
        key: ShardedTensor,
        value: ShardedTensor,
        *,
        scores: AttentionScores,
        distance_bias: ShardedWeight | None = None,
    ) -> ShardedTensor:
        self.refuse_distances(distance_bias)
        if isinstance(query, Common):
            heads = [self._whole(x) for x in (query, key, value)]
            return Common(whole=self._graph.cached_attention(*heads, scores=scores))
        if scores.slopes is not None:
            own = self._rank.heads(len(scores.slopes))
            scores = replace(scores, slopes=scores.slopes[own.start : own.stop])
        heads = [_own(x).tensor for x in (query, key, value)]
        return Own(tensor=self._graph.cached_attention(*heads, scores=scores))

    def select_sampled(self, x: ShardedTensor) -> ShardedTensor:
        return Common(whole=self._graph.select_sampled(self._whole(x)))

    def output(self, logits: ShardedTensor) -> None:
        if isinstance(logits, Common):
            self._graph.output(self._whole(logits))
            return
        options, (width,) = self._graph.options, logits.widths
        output_candidates_of_all(
            self._graph.layers,
            logits.tensor,
            own=self._rank.share(width * self._rank.parts),
            num_ranks=self._rank.parts,
            num_candidates=options.num_candidates,
            full_logits=options.full_logits,
        )

    def _whole(self, x: ShardedTensor) -> Any:
        """The sum over all ranks, computed once."""
        assert isinstance(x, Common), "own columns where those of all ranks are needed"
        if x.part is not None:
            total = all_reduce(self._graph.layers, x.part, self._rank.parts)
            x.whole, x.part = self._sum(x.whole, total), None
        return x.whole

    def _normed(self, x: ShardedTensor) -> Any:
        """A tensor that may be normalized: whole rows, or each head by itself."""
        if isinstance(x, Common):
            return self._whole(x)
        assert len(x.tensor.shape) == 4, "a norm over columns of which each rank has some"
        return x.tensor

    def _sum(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return self._graph.add(a, b)


def _own(x: ShardedTensor) -> Own:
    assert isinstance(x, Own), "common columns where a rank's own are needed"
    return x
