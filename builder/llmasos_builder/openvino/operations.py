"""The operations that all networks for OpenVINO share, whatever the axes of a tensor are.

Only the last axis is looked at, so that a tensor may be padded rows of tokens or packed ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

from llmasos.engine.plan import Precision
from llmasos.errors import PlanError
from llmasos.files.disk import trouble_of
from llmasos.openvino_import import ops, ov

from llmasos_builder.graph.graph import Activation, Array
from llmasos_builder.openvino.attention import floats, integer, integers
from llmasos_builder.openvino.weights import OpenVINOWeight, make_weight, side_by_side

_MAX_JOINED = 3
"""The largest ratio of rows to columns for which matrices are multiplied as one."""


class OpenVINOOperations:
    """The part of `Graph` that takes no positions.

    in_int8: the weights that are kept in int8 where int4 is asked for. int4_group: see
    `make_weight`.
    """

    def __init__(self, *, in_int8: Collection[str] = (), int4_group: int | None = None) -> None:
        self._in_int8 = in_int8
        self._int4_group = int4_group

    def weight(self, name: str, values: Array, precision: Precision) -> OpenVINOWeight:
        kept: Precision = "int8" if precision == "int4" and name in self._in_int8 else precision
        return make_weight(name, values, kept, int4_group=self._int4_group)

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
            vectors: Sequence[OpenVINOWeight | None] = biases or [None] * len(weights)
            return tuple(self.linear(x, *one) for one in zip(weights, vectors, strict=True))
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
            case "tanh":
                return ops.tanh(x)

    def soft_cap(self, x: ov.Node, cap: float) -> ov.Node:
        return ops.multiply(ops.tanh(ops.multiply(x, floats(1 / cap))), floats(cap))

    def scale(self, x: ov.Node, factor: float) -> ov.Node:
        return ops.multiply(x, floats(factor))

    def add(self, a: ov.Node, b: ov.Node) -> ov.Node:
        return ops.add(a, b)

    def multiply(self, a: ov.Node, b: ov.Node) -> ov.Node:
        return ops.multiply(a, b)

    def split(self, x: ov.Node, widths: Sequence[int]) -> tuple[ov.Node, ...]:
        outputs = ops.variadic_split(x, integer(-1), integers(*widths)).outputs()
        return tuple(cast("list[ov.Node]", outputs))

    def concat(self, parts: Sequence[ov.Node]) -> ov.Node:
        return ops.concat(list(parts), -1)


def with_stable_names(model: ov.Model) -> ov.Model:
    """Returns the model with names that depend only on its definition."""
    counts: dict[str, int] = {}
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if node.get_friendly_name().startswith(f"{kind}_"):  # what OpenVINO numbers itself
            index = counts[kind] = counts.get(kind, -1) + 1
            node.set_friendly_name(f"{kind}.{index}")
    return model


def save_model(model: ov.Model, path: Path) -> None:
    """Writes path (.xml) and its weights beside it (.bin): the same bytes every time.

    Raises OSError if it cannot be written, PlanError if OpenVINO does not give the reason.
    """
    try:
        ov.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        trouble = trouble_of(path.with_suffix(".bin")) or trouble_of(path)
        if trouble is not None:
            raise trouble from error
        reason = str(error).strip().splitlines()[-1]
        raise PlanError(f"OpenVINO cannot write {path}: {reason}") from error
