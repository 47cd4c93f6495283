"""The operations in which a transformer is defined, independent of its compiler.

A definition names only the last axis of a tensor. The axes before it (a batch and a sequence, or
the packed tokens of many sequences), masks, positions, the layout of the KV cache and the sampled
tokens belong to the implementation. So there is no reshape, and rotary, cached_attention and
select_sampled take no shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
from llmasos.engine.plan import Precision
from numpy.typing import NDArray

Array = NDArray[np.float32]
Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "tanh"]
Pooling = Literal["mean", "mean_sqrt_len", "max", "first", "last"]
"""What one vector of a sequence is made of: its tokens' mean, their sum over the root of their
number, the largest value of each element, the first token, or the last one.
"""

TensorT = TypeVar("TensorT")
WeightT = TypeVar("WeightT")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionScores:
    """What is done to query @ key.T before the softmax.

    scale: its factor. cap: its soft cap after that, as in `Graph.soft_cap`. slopes: ALiBi's: one
    for each query head, by which a key's score drops with each token of distance (Press et al.,
    arXiv:2108.12409). window: number of tokens that a token sees, including itself; None is all.
    In `Graph.attention`, which looks both ways, it is the largest distance to a token that is seen.
    """

    scale: float
    cap: float | None = None
    slopes: tuple[float, ...] | None = None
    window: int | None = None


class Graph(Protocol[TensorT, WeightT]):
    """A network under construction.

    A tensor is either wide, [..., width], or in heads: split_heads makes heads, and merge_heads
    ends them. rotary and cached_attention take heads; norms, activations, add, multiply and
    soft_cap take either (a norm of heads normalizes each head); all others take wide tensors.
    """

    def weight(self, name: str, values: Array, precision: Precision) -> WeightT:
        """Adds a constant [out, in] or [n] in a precision; it may be used several times.

        int8 is symmetric with one scale for each row, so only a matrix can have it.
        """
        ...

    def embed_tokens(self, table: WeightT) -> TensorT:
        """Looks up rows of table [vocabulary, width] by the ids of the input tokens."""
        ...

    def embed_positions(self, table: WeightT) -> TensorT:
        """Looks up rows of table [positions, width] by each token's position in its sequence."""
        ...

    def embed_token_types(self, table: WeightT) -> TensorT:
        """Looks up rows of table [types, width] by each token's type, as of a text or its pair."""
        ...

    def linear(self, x: TensorT, weight: WeightT, bias: WeightT | None = None) -> TensorT:
        """x @ weight.T + bias; weight [out, in], bias [out]."""
        ...

    def linears(
        self, x: TensorT, weights: Sequence[WeightT], biases: Sequence[WeightT] | None = None
    ) -> tuple[TensorT, ...]:
        """Applies the linear of each weight, with its bias; they may be computed as one."""
        ...

    def rms_norm(self, x: TensorT, weight: WeightT, *, eps: float) -> TensorT:
        """x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich, arXiv:1910.07467)."""
        ...

    def layer_norm(
        self, x: TensorT, weight: WeightT, bias: WeightT | None, *, eps: float
    ) -> TensorT:
        """(x - mean) / sqrt(variance + eps) * weight + bias (Ba et al., arXiv:1607.06450)."""
        ...

    def activation(self, x: TensorT, kind: Activation) -> TensorT:
        """Elementwise; gelu is exact, gelu_tanh its approximation (arXiv:1606.08415)."""
        ...

    def soft_cap(self, x: TensorT, cap: float) -> TensorT:
        """cap * tanh(x / cap): small values stay nearly unchanged, and none exceeds cap."""
        ...

    def scale(self, x: TensorT, factor: float) -> TensorT:
        """x * factor."""
        ...

    def add(self, a: TensorT, b: TensorT) -> TensorT:
        """a + b, of one width."""
        ...

    def multiply(self, a: TensorT, b: TensorT) -> TensorT:
        """a * b, of one width."""
        ...

    def split(self, x: TensorT, widths: Sequence[int]) -> tuple[TensorT, ...]:
        """Parts of these widths, which add up to x's, along the last axis."""
        ...

    def concat(self, parts: Sequence[TensorT]) -> TensorT:
        """The parts side by side along the last axis."""
        ...

    def split_heads(self, x: TensorT, num_heads: int) -> TensorT:
        """Heads of equal size, from the neighbouring columns of a wide tensor."""
        ...

    def merge_heads(self, x: TensorT) -> TensorT:
        """Undoes split_heads: one wide tensor, head after head."""
        ...

    def rotary(self, x: TensorT, frequencies: tuple[float, ...]) -> TensorT:
        """Rotates each head by its token's position (RoPE, Su et al., arXiv:2104.09864).

        frequencies: radians per position, one for each pair; element i of a head's first half pairs
        with element i of its second half.
        """
        ...

    def cached_attention(
        self,
        query: TensorT,
        key: TensorT,
        value: TensorT,
        *,
        scores: AttentionScores,
        distance_bias: WeightT | None = None,
    ) -> TensorT:
        """softmax(scores of query @ key.T) @ value over a token's sequence up to itself.

        Keys and values of earlier steps come from the cache, and these join it: each call is one
        layer of the cache. The number of query heads may be a multiple of that of key-value heads;
        neighbours then share one (GQA, arXiv:2305.13245). distance_bias: as in `attention`.
        """
        ...

    def attention(
        self,
        query: TensorT,
        key: TensorT,
        value: TensorT,
        *,
        scores: AttentionScores,
        distance_bias: WeightT | None = None,
    ) -> TensorT:
        """softmax(scores of query @ key.T) @ value over the whole of a token's sequence.

        distance_bias [2 * reach + 1, query heads], in f32: row d + reach is added to the scores of
        a key that is d tokens behind its query; larger distances take the first or last row (T5,
        Raffel et al., arXiv:1910.10683). Groups of heads are as in `cached_attention`. For networks
        that see each sequence once.
        """
        ...

    def keep_encoded(self, key: TensorT, value: TensorT) -> None:
        """Keeps the keys and values of an encoder's tokens for one layer of the decoder: each call
        is the next layer.
        """
        ...

    def end_encoder(self) -> None:
        """Ends the encoder: the tokens of what follows are those of the decoder."""
        ...

    def cross_attention(self, query: TensorT, *, scores: AttentionScores) -> TensorT:
        """softmax(scores of query @ key.T) @ value over what `keep_encoded` kept of the sequence's
        encoder: each call is the next layer.
        """
        ...

    def pool(self, x: TensorT, kind: Pooling) -> TensorT:
        """Makes one vector of each sequence; what follows has sequences where tokens were."""
        ...

    def normalize(self, x: TensorT) -> TensorT:
        """x / max(|x|, 1e-12), with the Euclidean length."""
        ...

    def select_sampled(self, x: TensorT) -> TensorT:
        """Selects the tokens whose prediction is wanted; an implementation may keep them all."""
        ...

    def output(self, logits: TensorT) -> None:
        """Ends the network: logits [..., vocabulary], or what its task asks for."""
        ...


def each_linear(
    graph: Graph[TensorT, WeightT],
    x: TensorT,
    weights: Sequence[WeightT],
    biases: Sequence[WeightT] | None,
) -> tuple[TensorT, ...]:
    """Implements `Graph.linears` with a linear for each weight."""
    vectors: Sequence[WeightT | None] = biases or [None] * len(weights)
    return tuple(graph.linear(x, *one) for one in zip(weights, vectors, strict=True))
