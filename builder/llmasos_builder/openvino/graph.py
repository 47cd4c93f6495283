"""Builds a network as a standard stateful OpenVINO IR.

It is the form that OpenVINO's own tools write and load. When the runtime loads it, it converts the
attention to paged attention, or, where scores have a soft cap, feeds the existing attention with
keys and values gathered from its blocks. The input of the output head is named
`last_hidden_state`, so that the runtime can select the sampled tokens from it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

from llmasos.engine.engine_io import LAST_HIDDEN_STATE, LOGITS
from llmasos.engine.plan import Precision
from llmasos.errors import PlanError
from llmasos.files.disk import trouble_of
from llmasos.openvino_import import ops, ov

from llmasos_builder.graph.graph import Activation, Array, AttentionScores, each_linear
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
from llmasos_builder.openvino.masks import StatefulMasks
from llmasos_builder.openvino.soft_capped_attention import soft_capped_attention
from llmasos_builder.openvino.weights import OpenVINOWeight, make_weight, side_by_side

_MAX_JOINED = 3
"""The largest ratio of rows to columns for which matrices are multiplied as one."""


class OpenVINOGraph:
    """Implements `Graph`: wide tensors are [B, S, width], heads [B, H, S, D].

    in_int8: the weights that are kept in int8 where int4 is asked for. int4_group: see
    `make_weight`.
    """

    def __init__(self, *, in_int8: Collection[str] = (), int4_group: int | None = None) -> None:
        self._in_int8 = in_int8
        self._int4_group = int4_group
        self._inputs = StatefulInputs()
        self._masks = StatefulMasks(self._inputs)
        self._cache = StatefulCache(self._inputs)
        self._results: list[ov.Node] = []

    def weight(self, name: str, values: Array, precision: Precision) -> OpenVINOWeight:
        kept: Precision = "int8" if precision == "int4" and name in self._in_int8 else precision
        return make_weight(name, values, kept, int4_group=self._int4_group)

    def embed_tokens(self, table: OpenVINOWeight) -> ov.Node:
        return table.rows(self._inputs.input_ids)

    def embed_positions(self, table: OpenVINOWeight) -> ov.Node:
        return table.rows(self._inputs.position_ids)

    def linear(
        self, x: ov.Node, weight: OpenVINOWeight, bias: OpenVINOWeight | None = None
    ) -> ov.Node:
        product = ops.matmul(x, weight.dense(), False, True)
        return product if bias is None else ops.add(product, bias.dense())

    def linears(
        self,
        x: ov.Node,
        weights: Sequence[OpenVINOWeight],
        biases: Sequence[OpenVINOWeight] | None = None,
    ) -> tuple[ov.Node, ...]:
        """Multiplies all as one matrix if they have one format: threads synchronize once, and x is
        quantized once.

        Not if the result is much wider than x: that gains nothing, and its parts must be copied.
        """
        heights = [weight.num_rows for weight in weights]
        is_narrow = sum(heights) <= _MAX_JOINED * weights[0].num_columns
        joined = side_by_side(weights) if len(weights) > 1 and is_narrow else None
        if joined is None:
            return each_linear(self, x, weights, biases)
        bias = None if biases is None else side_by_side(biases)
        return self.split(self.linear(x, joined, bias), heights)

    def rms_norm(self, x: ov.Node, weight: OpenVINOWeight, *, eps: float) -> ov.Node:
        mean = ops.reduce_mean(ops.power(x, floats(2.0)), integers(-1), keep_dims=True)
        inverse = ops.divide(floats(1.0), ops.sqrt(ops.add(mean, floats(eps))))
        return ops.multiply(ops.multiply(x, inverse), weight.dense())

    def layer_norm(
        self, x: ov.Node, weight: OpenVINOWeight, bias: OpenVINOWeight | None, *, eps: float
    ) -> ov.Node:
        scaled = ops.multiply(ops.mvn(x, integers(-1), True, eps, "INSIDE_SQRT"), weight.dense())
        return scaled if bias is None else ops.add(scaled, bias.dense())

    def activation(self, x: ov.Node, kind: Activation) -> ov.Node:
        match kind:
            case "silu":
                return ops.swish(x)
            case "gelu":
                return ops.gelu(x, "ERF")
            case "gelu_tanh":
                return ops.gelu(x, "TANH")
            case "relu":
                return ops.relu(x)

    def soft_cap(self, x: ov.Node, cap: float) -> ov.Node:
        return ops.multiply(ops.tanh(ops.multiply(x, floats(1 / cap))), floats(cap))

    def add(self, a: ov.Node, b: ov.Node) -> ov.Node:
        return ops.add(a, b)

    def multiply(self, a: ov.Node, b: ov.Node) -> ov.Node:
        return ops.multiply(a, b)

    def split(self, x: ov.Node, widths: Sequence[int]) -> tuple[ov.Node, ...]:
        outputs = ops.variadic_split(x, integer(-1), integers(*widths)).outputs()
        return tuple(cast("list[ov.Node]", outputs))

    def concat(self, parts: Sequence[ov.Node]) -> ov.Node:
        return ops.concat(list(parts), -1)

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
        self, query: ov.Node, key: ov.Node, value: ov.Node, *, scores: AttentionScores
    ) -> ov.Node:
        mask = self._masks.of(scores)
        keys, values = self._cache.extend(key, value)
        if scores.cap is not None:
            return soft_capped_attention(
                query, keys, values, mask=mask, scale=scores.scale, cap=scores.cap
            )
        group = width(query, 1) // width(key, 1)
        keys_of_all, values_of_all = (repeat_heads(x.total, group) for x in (keys, values))
        return ops.scaled_dot_product_attention(
            query, keys_of_all, values_of_all, mask, floats(scores.scale)
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
        model = ov.Model(  # pyright: ignore[reportGeneralTypeIssues] - its stub has a wrong self
            self._results, self._cache.sinks, parameters, "network"
        )
        counts: dict[str, int] = {}
        for node in model.get_ordered_ops():
            kind = node.get_type_name()
            if node.get_friendly_name().startswith(f"{kind}_"):  # what OpenVINO numbers itself
                index = counts[kind] = counts.get(kind, -1) + 1
                node.set_friendly_name(f"{kind}.{index}")
        return model

    def save(self, path: Path) -> None:
        """Writes path (.xml) and its weights beside it (.bin): the same bytes every time.

        Raises OSError if it cannot be written, PlanError if OpenVINO does not give the reason.
        """
        try:
            ov.save_model(self.model(), path, compress_to_fp16=False)
        except RuntimeError as error:
            trouble = trouble_of(path.with_suffix(".bin")) or trouble_of(path)
            if trouble is not None:
                raise trouble from error
            reason = str(error).strip().splitlines()[-1]
            raise PlanError(f"OpenVINO cannot write {path}: {reason}") from error


__all__ = ["OpenVINOGraph"]
