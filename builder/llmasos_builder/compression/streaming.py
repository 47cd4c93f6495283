"""The reference network over many windows at once, one weight in memory at a time.

A graph computes while it is defined. So where all windows go through an operation before the next
one is defined, each weight is read once, used and dropped, and a model that is larger than memory
can be observed: only the activations of one layer are held. Computed in float32.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Protocol, cast

import numpy as np
from llmasos.engine.plan import Precision
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

from llmasos_builder.architectures.network import Network
from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import Weights
from llmasos_builder.graph.graph import Activation, Array, AttentionScores
from llmasos_builder.graph.reference import ReferenceGraph, Wide


class Observer(Protocol):
    """Sees each matrix of the layers with the inputs that it is about to be multiplied by."""

    def __call__(self, name: str, inputs: Array, weight: Array) -> Array:
        """Returns the matrix [out, in] to compute with: the same, or another in its place.

        name: of the weight. inputs: [num_tokens, in].
        """
        ...


class StreamingGraph(ReferenceGraph):
    """Implements `Graph` over windows [N, S], each seen by itself.

    hidden: after the definition, what the output head is multiplied by, [N, S, width]. head: the
    output head [vocabulary, width]; it is not observed, and logits are computed by `logits_of`.
    relative: the observer sees the inputs of matrices that add to the hidden states divided by the
    size of these states, which the next norm divides by: else the few tokens with huge states, as
    the first of a sequence has, outweigh all others.
    """

    def __init__(
        self,
        windows: NDArray[np.int64],
        observer: Observer | None = None,
        *,
        relative: bool = False,
    ) -> None:
        super().__init__(windows)
        self._observer = observer
        self._relative = relative
        self._normed: Wide | None = None
        self._size: Array = np.ones((*windows.shape, 1), np.float32)
        self._names: dict[int, tuple[weakref.ref[Array], str]] = {}
        self._is_at_head = False
        self._cap: float | None = None
        self.hidden: Array = np.empty((*windows.shape, 0), np.float32)
        self.head: Array = np.empty((0, 0), np.float32)

    def weight(self, name: str, values: Array, precision: Precision) -> Wide:
        del precision
        kept = np.asarray(values, np.float32)
        # By identity, as an array has no hash; a weak one, as an id is used again.
        self._names[id(kept)] = (weakref.ref(kept), name)
        return _wide(kept)

    def linear(self, x: Wide, weight: Wide, bias: Wide | None = None) -> Wide:
        if self._is_at_head:
            self.head = _narrow(weight)
            return x[..., :0]
        known, name = self._names.get(id(weight), (None, ""))
        assert known is not None and known() is weight, "a weight that `weight` did not return"
        used = _narrow(weight)
        if self._observer is not None:
            inputs = self._seen(x).reshape(-1, x.shape[-1])
            if not np.isfinite(inputs).all():
                raise CheckpointError(
                    f"the inputs of {name} are not finite numbers over the calibration text"
                )
            used = self._observer(name, inputs, used)
        return super().linear(x, _wide(used), bias)

    def _seen(self, x: Wide) -> Array:
        """The inputs of a matrix as the observer sees them."""
        if not self._relative or x is self._normed:
            return _narrow(x)
        return _narrow(x) / self._size

    def rms_norm(self, x: Wide, weight: Wide, *, eps: float) -> Wide:
        normed = super().rms_norm(x, weight, eps=eps)
        if x.ndim == self._size.ndim:  # not of heads
            self._size = np.sqrt(np.mean(_narrow(x) ** 2, axis=-1, keepdims=True) + np.float32(eps))
            self._normed = normed
        return normed

    def layer_norm(self, x: Wide, weight: Wide, bias: Wide | None, *, eps: float) -> Wide:
        normed = super().layer_norm(x, weight, bias, eps=eps)
        self._normed = normed
        return normed

    def cached_attention(
        self,
        query: Wide,
        key: Wide,
        value: Wide,
        *,
        scores: AttentionScores,
        distance_bias: Wide | None = None,
    ) -> Wide:
        """Attends window by window, which bounds the memory of the scores."""
        self.refuse_distances(distance_bias)
        positions, key_positions, visible = self._positions, self._key_positions, self._visible
        parts: list[Wide] = []
        for index in range(len(query)):
            row = slice(index, index + 1)
            self._positions, self._key_positions = positions[row], key_positions[row]
            self._visible = visible[row]
            parts.append(super().cached_attention(query[row], key[row], value[row], scores=scores))
            self.cache.clear()
        self._positions, self._key_positions = positions, key_positions
        self._visible = visible
        return np.concatenate(parts)

    def rotary(self, x: Wide, frequencies: tuple[float, ...]) -> Wide:
        angles = self._positions[:, None, :, None] * np.array(frequencies)
        first, second = np.split(x, 2, axis=-1)
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def activation(self, x: Wide, kind: Activation) -> Wide:
        return _wide(_narrow(super().activation(x, kind)))

    def select_sampled(self, x: Wide) -> Wide:
        self._is_at_head = True
        self.hidden = _narrow(x)
        return x

    def soft_cap(self, x: Wide, cap: float) -> Wide:
        if self._is_at_head:
            self._cap = cap
            return x
        return super().soft_cap(x, cap)

    def logits_of(self, window: int) -> Array:
        """The logits [S, vocabulary] of one window."""
        logits: Array = self.hidden[window] @ self.head.T
        if self._cap is not None:
            logits = self._cap * np.tanh(logits / np.float32(self._cap))
        return logits


def stream(
    network: Network,
    weights: Weights,
    windows: NDArray[np.int64],
    observer: Observer | None = None,
    report: Callable[[str], None] | None = None,
    *,
    relative: bool = False,
) -> StreamingGraph:
    """Runs a network over windows of token ids [N, S], layer by layer.

    report: told the name of each tensor before it is read. relative: see `StreamingGraph`. Raises
    CheckpointError, which names the tensor, where a weight or a matrix's inputs are not finite.
    """
    graph = StreamingGraph(windows, observer, relative=relative)

    def load(name: str, _shape: tuple[int, ...]) -> Array:
        if report is not None:
            report(name)
        return load_tensor(weights, name)

    network.define(graph, load, precision="f32")
    return graph


def _wide(values: Array) -> Wide:
    """The reference's methods compute in whatever type they are given."""
    return cast("Wide", values)


def _narrow(values: Wide) -> Array:
    return np.asarray(values, np.float32)
