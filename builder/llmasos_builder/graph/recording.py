"""A graph that computes nothing and records the calls.

It knows only the width of each tensor (or its heads), which is all that a definition may know, and
refuses mismatches; so a definition that runs on it names no other axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmasos.engine.plan import Precision

from llmasos_builder.graph.graph import (
    Activation,
    Array,
    AttentionScores,
    Pooling,
    each_linear,
)
from llmasos_builder.graph.records import Operation, RecordedTensor, RecordedWeight


class RecordingGraph:
    """Implements `Graph`. operations: the calls in order."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.weights: dict[str, RecordedWeight] = {}
        self._num_tensors = 0
        self._kept: list[tuple[RecordedTensor, RecordedTensor]] = []
        self._num_read = 0

    def weight(self, name: str, values: Array, precision: Precision) -> RecordedWeight:
        assert name not in self.weights, f"{name} is defined twice"
        weight = RecordedWeight(name=name, shape=values.shape, precision=precision)
        self.weights[name] = weight
        return weight

    def embed_tokens(self, table: RecordedWeight) -> RecordedTensor:
        return self._record("embed_tokens", (), (table,), width=table.shape[1])

    def embed_positions(self, table: RecordedWeight) -> RecordedTensor:
        return self._record("embed_positions", (), (table,), width=table.shape[1])

    def embed_token_types(self, table: RecordedWeight) -> RecordedTensor:
        return self._record("embed_token_types", (), (table,), width=table.shape[1])

    def linear(
        self, x: RecordedTensor, weight: RecordedWeight, bias: RecordedWeight | None = None
    ) -> RecordedTensor:
        rows, columns = weight.shape
        assert x.num_heads is None and x.width == columns
        assert bias is None or bias.shape == (rows,)
        return self._record("linear", (x,), _present(weight, bias), width=rows)

    def linears(
        self,
        x: RecordedTensor,
        weights: Sequence[RecordedWeight],
        biases: Sequence[RecordedWeight] | None = None,
    ) -> tuple[RecordedTensor, ...]:
        return each_linear(self, x, weights, biases)

    def rms_norm(self, x: RecordedTensor, weight: RecordedWeight, *, eps: float) -> RecordedTensor:
        assert weight.shape == (x.width,)
        return self._like("rms_norm", x, weight, eps=eps)

    def layer_norm(
        self, x: RecordedTensor, weight: RecordedWeight, bias: RecordedWeight | None, *, eps: float
    ) -> RecordedTensor:
        assert weight.shape == (x.width,) and (bias is None or bias.shape == weight.shape)
        return self._like("layer_norm", x, *_present(weight, bias), eps=eps)

    def activation(self, x: RecordedTensor, kind: Activation) -> RecordedTensor:
        return self._like("activation", x, activation=kind)

    def soft_cap(self, x: RecordedTensor, cap: float) -> RecordedTensor:
        return self._like("soft_cap", x, cap=cap)

    def scale(self, x: RecordedTensor, factor: float) -> RecordedTensor:
        return self._like("scale", x, factor=factor)

    def add(self, a: RecordedTensor, b: RecordedTensor) -> RecordedTensor:
        return self._elementwise("add", a, b)

    def multiply(self, a: RecordedTensor, b: RecordedTensor) -> RecordedTensor:
        return self._elementwise("multiply", a, b)

    def split(self, x: RecordedTensor, widths: Sequence[int]) -> tuple[RecordedTensor, ...]:
        assert x.num_heads is None and sum(widths) == x.width
        parts = tuple(self._tensor(width) for width in widths)
        self._add("split", (x,), parts, widths=tuple(widths))
        return parts

    def concat(self, parts: Sequence[RecordedTensor]) -> RecordedTensor:
        assert all(part.num_heads is None for part in parts)
        return self._record("concat", tuple(parts), width=sum(part.width for part in parts))

    def split_heads(self, x: RecordedTensor, num_heads: int) -> RecordedTensor:
        assert x.num_heads is None and x.width % num_heads == 0
        return self._record("split_heads", (x,), width=x.width // num_heads, num_heads=num_heads)

    def merge_heads(self, x: RecordedTensor) -> RecordedTensor:
        assert x.num_heads is not None
        return self._record("merge_heads", (x,), width=x.width * x.num_heads)

    def rotary(self, x: RecordedTensor, frequencies: tuple[float, ...]) -> RecordedTensor:
        assert x.num_heads is not None and x.width == 2 * len(frequencies)
        return self._like("rotary", x, frequencies=frequencies)

    def cached_attention(
        self,
        query: RecordedTensor,
        key: RecordedTensor,
        value: RecordedTensor,
        *,
        scores: AttentionScores,
        distance_bias: RecordedWeight | None = None,
    ) -> RecordedTensor:
        return self._attention("cached_attention", query, key, value, distance_bias, scores=scores)

    def attention(
        self,
        query: RecordedTensor,
        key: RecordedTensor,
        value: RecordedTensor,
        *,
        scores: AttentionScores,
        distance_bias: RecordedWeight | None = None,
    ) -> RecordedTensor:
        return self._attention("attention", query, key, value, distance_bias, scores=scores)

    def keep_encoded(self, key: RecordedTensor, value: RecordedTensor) -> None:
        assert key.num_heads is not None and key.num_heads == value.num_heads
        self._kept.append((key, value))
        self._add("keep_encoded", (key, value), ())

    def end_encoder(self) -> None:
        self._add("end_encoder", (), ())

    def cross_attention(self, query: RecordedTensor, *, scores: AttentionScores) -> RecordedTensor:
        key, value = self._kept[self._num_read]
        self._num_read += 1
        return self._attention("cross_attention", query, key, value, scores=scores)

    def pool(self, x: RecordedTensor, kind: Pooling) -> RecordedTensor:
        assert x.num_heads is None
        return self._like("pool", x, pooling=kind)

    def normalize(self, x: RecordedTensor) -> RecordedTensor:
        assert x.num_heads is None
        return self._like("normalize", x)

    def select_sampled(self, x: RecordedTensor) -> RecordedTensor:
        assert x.num_heads is None
        return self._record("select_sampled", (x,), width=x.width)

    def output(self, logits: RecordedTensor) -> None:
        assert logits.num_heads is None
        self._record("output", (logits,), width=logits.width)

    def _attention(
        self,
        kind: str,
        query: RecordedTensor,
        key: RecordedTensor,
        value: RecordedTensor,
        bias: RecordedWeight | None = None,
        *,
        scores: AttentionScores,
    ) -> RecordedTensor:
        assert query.num_heads is not None and key.num_heads is not None
        assert query.num_heads % key.num_heads == 0 and value.num_heads == key.num_heads
        assert query.width == key.width
        assert scores.slopes is None or len(scores.slopes) == query.num_heads
        if bias is not None:
            assert bias.shape[0] % 2 and bias.shape[1] == query.num_heads
        weights = () if bias is None else (bias,)
        heads = query.num_heads
        return self._record(
            kind, (query, key, value), weights, width=value.width, num_heads=heads, scores=scores
        )

    def _elementwise(self, kind: str, a: RecordedTensor, b: RecordedTensor) -> RecordedTensor:
        assert (a.width, a.num_heads) == (b.width, b.num_heads)
        return self._record(kind, (a, b), width=a.width, num_heads=a.num_heads)

    def _like(
        self, kind: str, x: RecordedTensor, *weights: RecordedWeight, **settings: Any
    ) -> RecordedTensor:
        """Records one operation that keeps the form of x."""
        return self._record(kind, (x,), weights, width=x.width, num_heads=x.num_heads, **settings)

    def _record(
        self,
        kind: str,
        inputs: tuple[RecordedTensor, ...],
        weights: tuple[RecordedWeight, ...] = (),
        *,
        width: int,
        num_heads: int | None = None,
        **settings: Any,
    ) -> RecordedTensor:
        output = self._tensor(width, num_heads)
        self._add(kind, inputs, (output,), weights, **settings)
        return output

    def _add(
        self,
        kind: str,
        inputs: tuple[RecordedTensor, ...],
        outputs: tuple[RecordedTensor, ...],
        weights: tuple[RecordedWeight, ...] = (),
        **settings: Any,
    ) -> None:
        self.operations.append(
            Operation(kind=kind, inputs=inputs, outputs=outputs, weights=weights, settings=settings)
        )

    def _tensor(self, width: int, num_heads: int | None = None) -> RecordedTensor:
        self._num_tensors += 1
        return RecordedTensor(index=self._num_tensors - 1, width=width, num_heads=num_heads)


def _present(weight: RecordedWeight, bias: RecordedWeight | None) -> tuple[RecordedWeight, ...]:
    return (weight,) if bias is None else (weight, bias)
