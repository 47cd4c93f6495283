"""Builds a network as a standard stateful OpenVINO IR.

It is the form that OpenVINO's own tools write and load. When the runtime loads it, it converts the
attention to paged attention, or, where scores have a soft cap or a bias of distances, feeds the
existing attention with keys and values gathered from its blocks. The input of the output head is
named `last_hidden_state`, so that the runtime can select the sampled tokens from it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from llmasos.engine.engine_io import LAST_HIDDEN_STATE, LOGITS
from llmasos.openvino_import import ops, ov

from llmasos_builder.graph.graph import AttentionScores
from llmasos_builder.graph.refused_operations import DecodersOnly
from llmasos_builder.openvino.attention import (
    StatefulCache,
    StatefulInputs,
    floats,
    integer,
    integers,
    output_of,
    repeat_heads,
    width,
)
from llmasos_builder.openvino.encoded_inputs import EncodedInputs
from llmasos_builder.openvino.masks import StatefulMasks
from llmasos_builder.openvino.operations import OpenVINOOperations, save_model, with_stable_names
from llmasos_builder.openvino.weights import OpenVINOWeight
from llmasos_builder.openvino.written_attention import written_attention


class OpenVINOGraph(OpenVINOOperations, DecodersOnly):
    """Implements `Graph` for decoders: wide tensors are [B, S, width], heads [B, H, S, D].

    What a decoder sees of an encoder are inputs (`EncodedInputs`).

    in_int8, int4_group: see `OpenVINOOperations`.
    """

    compiler = "a stateful network"

    def __init__(self, *, in_int8: Collection[str] = (), int4_group: int | None = None) -> None:
        super().__init__(in_int8=in_int8, int4_group=int4_group)
        self._inputs = StatefulInputs()
        self._masks = StatefulMasks(self._inputs)
        self._cache = StatefulCache(self._inputs)
        self._encoded = EncodedInputs()
        self._results: list[ov.Node] = []

    def embed_tokens(self, table: OpenVINOWeight) -> ov.Node:
        return table.rows(self._inputs.input_ids)

    def embed_positions(self, table: OpenVINOWeight) -> ov.Node:
        return table.rows(self._inputs.position_ids)

    def split_heads(self, x: ov.Node, num_heads: int) -> ov.Node:
        size = width(x, 2) // num_heads
        heads = ops.reshape(x, integers(0, 0, num_heads, size), special_zero=True)
        return ops.transpose(heads, integers(0, 2, 1, 3))

    def merge_heads(self, x: ov.Node) -> ov.Node:
        total = width(x, 1) * width(x, 3)
        rows = ops.transpose(x, integers(0, 2, 1, 3))
        return ops.reshape(rows, integers(0, 0, total), special_zero=True)

    def rotary(self, x: ov.Node, frequencies: tuple[float, ...]) -> ov.Node:
        cos, sin = self._inputs.rotation(frequencies)
        half = len(frequencies)
        first, second = ops.variadic_split(x, integer(3), integers(half, half)).outputs()
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
        mask = self._masks.of(scores)
        if distance_bias is not None:
            mask = ops.add(mask, self._inputs.distance_bias(distance_bias))
        keys, values = self._cache.extend(key, value)
        if scores.cap is not None or distance_bias is not None:
            return written_attention(
                query, keys, values, mask=mask, scale=scores.scale, cap=scores.cap
            )
        group = width(query, 1) // width(key, 1)
        keys_of_all, values_of_all = (repeat_heads(x.total, group) for x in (keys, values))
        return ops.scaled_dot_product_attention(
            query, keys_of_all, values_of_all, mask, floats(scores.scale)
        )

    def cross_attention(self, query: ov.Node, *, scores: AttentionScores) -> ov.Node:
        size = width(query, 3)
        key, value = self._encoded.next_layer(width(query, 1), size)
        return ops.scaled_dot_product_attention(
            query, key, value, self._encoded.mask, floats(scores.scale)
        )

    def select_sampled(self, x: ov.Node) -> ov.Node:
        """Keeps all tokens; the runtime selects."""
        output_of(x).get_tensor().set_names({LAST_HIDDEN_STATE})
        return x

    def output(self, logits: ov.Node) -> None:
        output_of(logits).get_tensor().set_names({LOGITS})
        self._results.append(ops.result(logits))

    def model(self) -> ov.Model:
        """The network so far, with names that depend only on its definition."""
        parameters = self._inputs.parameters(has_cache=bool(self._cache.sinks))
        parameters += self._encoded.parameters
        model = ov.Model(  # pyright: ignore[reportGeneralTypeIssues] - its stub has a wrong self
            self._results, self._cache.sinks, parameters, "network"
        )
        return with_stable_names(model)

    def save(self, path: Path) -> None:
        """See `save_model`."""
        save_model(self.model(), path)


__all__ = ["OpenVINOGraph"]
