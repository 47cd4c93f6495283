"""How much neurons, groups of heads and layers matter, by what they add over a text."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from llmasos.engine.plan import Precision
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_builder.architectures import Network
from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import Weights
from llmasos_builder.graph import Array
from llmasos_builder.graph.reference import ReferenceGraph, Wide

_OUTPUTS = (".mlp.down_proj.weight", ".self_attn.o_proj.weight")
_NORMS = (".input_layernorm.weight", "model.norm.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """inputs: for the last matrix of each MLP and of each attention, one number for each of its
    inputs. layers: one number for each layer.
    """

    inputs: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    layers: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


class _Observing(ReferenceGraph):
    """Adds up squared inputs of matrices, and keeps how each layer turns the hidden states."""

    def __init__(self, input_ids: NDArray[np.int64]) -> None:
        super().__init__(input_ids)
        self._names: dict[int, tuple[weakref.ref[Wide], str]] = {}
        self._entered: Wide | None = None
        self.inputs: dict[str, NDArray[np.float64]] = {}
        self.turned: list[float] = []

    def weight(self, name: str, values: Array, precision: Precision) -> Wide:
        exact = super().weight(name, values, precision)
        if name.endswith((*_OUTPUTS, *_NORMS)):
            # By identity, as an array has no hash; a weak one, as an id is used again.
            self._names[id(exact)] = (weakref.ref(exact), name)
        return exact

    def linear(self, x: Wide, weight: Wide, bias: Wide | None = None) -> Wide:
        name = self._name_of(weight)
        if name is not None:
            energy = (x**2).sum(axis=tuple(range(x.ndim - 1))) * (weight**2).sum(axis=0)
            self.inputs[name] = energy
        return super().linear(x, weight, bias)

    def rms_norm(self, x: Wide, weight: Wide, *, eps: float) -> Wide:
        if self._name_of(weight) is not None:  # the beginning of a layer, or the end of the last
            if self._entered is not None:
                self.turned.append(1 - float(_cosines(self._entered, x).mean()))
            self._entered = x
        return super().rms_norm(x, weight, eps=eps)

    def _name_of(self, weight: Wide) -> str | None:
        known, name = self._names.get(id(weight), (None, ""))
        return name if known is not None and known() is weight else None


def measure_importance(
    network: Network,
    weights: Weights,
    windows: Sequence[NDArray[np.int64]],
    progress: Progress,
) -> Importance:
    """Runs the reference network over windows of token ids [S], each seen by itself.

    An input's number is its squared activation, summed over every token, times the squared length
    of the column that it is multiplied by. Activations over a text rank neurons and heads in
    Minitron (Muralidharan et al., arXiv:2407.14679); the column's length is added here. A layer's
    number is one minus the mean cosine between the hidden states before and after it (Men et al.,
    arXiv:2403.03853). Raises CheckpointError, which names the tensor, where a weight is not finite.
    """
    inputs: dict[str, NDArray[np.float64]] = {}
    layers: NDArray[np.float64] = np.zeros(0)
    for index, window in enumerate(windows):
        progress("calibrating", index, len(windows))
        graph = _Observing(window[None])
        network.define(graph, lambda n, _: load_tensor(weights, n), precision="f32")
        for name, energy in graph.inputs.items():
            inputs[name] = inputs.get(name, 0.0) + energy
        layers = np.array(graph.turned) + (layers if index else 0.0)
    progress("calibrating", len(windows), len(windows))
    return Importance(inputs=inputs, layers=layers)


def _cosines(a: Wide, b: Wide) -> Wide:
    cosines: Wide = (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1) + 1e-30)
    return cosines
