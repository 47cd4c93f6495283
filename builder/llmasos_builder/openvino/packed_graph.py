"""Builds a network that sees each sequence once, as an OpenVINO IR over packed sequences."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from llmasos.engine.engine_io import CACHE_PARTS, ENCODED, encoded_name
from llmasos.errors import UnsupportedArchitectureError
from llmasos.openvino_import import ops, ov

from llmasos_builder.graph.graph import AttentionScores, Pooling
from llmasos_builder.graph.refused_operations import WithoutCrossAttention
from llmasos_builder.openvino.attention import (
    distance_rows,
    floats,
    integer,
    integers,
    output_of,
    repeat_heads,
    width,
)
from llmasos_builder.openvino.operations import OpenVINOOperations, save_model, with_stable_names
from llmasos_builder.openvino.packed_inputs import PackedInputs
from llmasos_builder.openvino.weights import OpenVINOWeight

_SHORTEST = 1e-12
_LEAST = -3.0e38


class PackedGraph(OpenVINOOperations, WithoutCrossAttention):
    """Implements `Graph`: wide tensors are [T, width], heads [T, H, D]; after `pool` wide tensors
    are [B, width], and after select_sampled [N, width].

    in_int8, int4_group: see `OpenVINOOperations`. Decoders can be built as well: their attention
    sees the tokens before its own in the same step, and there is no cache.
    """

    def __init__(self, *, in_int8: Collection[str] = (), int4_group: int | None = None) -> None:
        super().__init__(in_int8=in_int8, int4_group=int4_group)
        self._inputs = PackedInputs()
        self._biases: dict[int, ov.Node] = {}
        self._results: list[ov.Node] = []
        self._num_kept = 0

    def embed_tokens(self, table: OpenVINOWeight) -> ov.Node:
        return table.rows(self._inputs.input_ids)

    def embed_positions(self, table: OpenVINOWeight) -> ov.Node:
        return table.rows(self._inputs.position_ids)

    def embed_token_types(self, table: OpenVINOWeight) -> ov.Node:
        return table.rows(self._inputs.token_type_ids)

    def split_heads(self, x: ov.Node, num_heads: int) -> ov.Node:
        size = width(x, 1) // num_heads
        return ops.reshape(x, integers(0, num_heads, size), special_zero=True)

    def merge_heads(self, x: ov.Node) -> ov.Node:
        return ops.reshape(x, integers(0, width(x, 1) * width(x, 2)), special_zero=True)

    def rotary(self, x: ov.Node, frequencies: tuple[float, ...]) -> ov.Node:
        cos, sin = self._inputs.rotation(frequencies)
        half = len(frequencies)
        first, second = ops.variadic_split(x, integer(2), integers(half, half)).outputs()
        turned = ops.concat([ops.multiply(second, floats(-1.0)), first], -1)
        return ops.add(ops.multiply(x, cos), ops.multiply(turned, sin))

    def cached_attention(
        self,
        query: ov.Node,
        key: ov.Node,
        value: ov.Node,
        *,
        scores: AttentionScores,
        distance_bias: OpenVINOWeight | None = None,
    ) -> ov.Node:
        self.refuse_distances(distance_bias)
        if scores.cap is not None or scores.slopes is not None:
            raise UnsupportedArchitectureError(
                "attention with soft caps or ALiBi is not compiled for the task embed"
            )
        mask = self._inputs.mask(is_causal=True, window=scores.window)
        return self._attend(query, key, value, mask, scores.scale)

    def attention(
        self,
        query: ov.Node,
        key: ov.Node,
        value: ov.Node,
        *,
        scores: AttentionScores,
        distance_bias: OpenVINOWeight | None = None,
    ) -> ov.Node:
        mask = self._inputs.mask(is_causal=False, window=scores.window)
        if distance_bias is not None:
            mask = ops.add(mask, self._bias(distance_bias))
        return self._attend(query, key, value, mask, scores.scale)

    def _attend(
        self, query: ov.Node, key: ov.Node, value: ov.Node, mask: ov.Node, scale: float
    ) -> ov.Node:
        group = width(query, 1) // width(key, 1)
        heads, size = width(query, 1), width(value, 2)
        rows = [self._rows(x) for x in (query, key, value)]
        keys, values = (repeat_heads(x, group) for x in rows[1:])
        attended = ops.scaled_dot_product_attention(rows[0], keys, values, mask, floats(scale))
        places = ops.reshape(
            ops.transpose(attended, integers(0, 2, 1, 3)), integers(-1, heads, size), False
        )
        return ops.gather(places, self._inputs.padded_at, integer(0))

    def _rows(self, x: ov.Node) -> ov.Node:
        """[T, H, D] -> [B, H, L, D]."""
        return ops.transpose(self._inputs.padded(x), integers(0, 2, 1, 3))

    def _bias(self, table: OpenVINOWeight) -> ov.Node:
        """[1, H, L, L], one for all layers that have this table."""
        if id(table) not in self._biases:
            rows = distance_rows(table, self._inputs.distances)
            self._biases[id(table)] = ops.unsqueeze(
                ops.transpose(rows, integers(2, 0, 1)), integer(0)
            )
        return self._biases[id(table)]

    def keep_encoded(self, key: ov.Node, value: ov.Node) -> None:
        """Makes them outputs, [T, H, D]."""
        for part, kept in zip(CACHE_PARTS, (key, value), strict=True):
            output_of(kept).get_tensor().set_names({encoded_name(part, self._num_kept)})
            self._results.append(ops.result(kept))
        self._num_kept += 1

    def pool(self, x: ov.Node, kind: Pooling) -> ov.Node:
        inputs = self._inputs
        if kind == "first":
            firsts = ops.gather(inputs.packed_at, integer(0), integer(1))
            return ops.gather(x, firsts, integer(0))
        if kind == "last":
            # The tokens of a sequence lie one behind the other.
            lasts = ops.subtract(ops.cumsum(inputs.lengths, integer(0)), integer(1))
            return ops.gather(x, lasts, integer(0))
        padded = inputs.padded(x)
        present = ops.unsqueeze(inputs.present, integer(2))
        if kind == "max":
            return ops.reduce_max(ops.select(present, padded, floats(_LEAST)), integers(1))
        total = ops.reduce_sum(ops.select(present, padded, floats(0.0)), integers(1))
        count = ops.unsqueeze(ops.convert(inputs.lengths, "f32"), integer(1))
        return ops.divide(total, count if kind == "mean" else ops.sqrt(count))

    def normalize(self, x: ov.Node) -> ov.Node:
        squares = ops.reduce_sum(ops.multiply(x, x), integers(-1), keep_dims=True)
        return ops.divide(x, ops.maximum(ops.sqrt(squares), floats(_SHORTEST)))

    def select_sampled(self, x: ov.Node) -> ov.Node:
        return ops.gather(x, self._inputs.selected, integer(0))

    def output(self, logits: ov.Node) -> None:
        output_of(logits).get_tensor().set_names({ENCODED})
        self._results.append(ops.result(logits))

    def model(self) -> ov.Model:
        """The network so far, with names that depend only on its definition."""
        parameters = self._inputs.parameters()
        model = ov.Model(self._results, parameters, "network")  # pyright: ignore[reportGeneralTypeIssues]
        return with_stable_names(model)

    def save(self, path: Path) -> None:
        """See `save_model`."""
        save_model(self.model(), path)
