"""Where factors of a matrix's inputs can be folded into what computes these inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from llmasos.engine.plan import Precision
from numpy.typing import NDArray

from llmasos_builder.architectures.network import Network
from llmasos_builder.graph import Array
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.records import Operation, RecordedWeight

_NORMS = ("rms_norm", "layer_norm")
_PROBE = np.float32(0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSite:
    """matrices: all that read these inputs. sources: the tensors whose rows make them, weight
    first; is_norm: whether they are a norm's.
    """

    matrices: tuple[str, ...]
    sources: tuple[str, ...]
    is_norm: bool


class _StoredAsRead(RecordingGraph):
    """Notes the vectors that the network reads without an offset or a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.plain: set[str] = set()

    def weight(self, name: str, values: Array, precision: Precision) -> RecordedWeight:
        if values.flat[0] == _PROBE:
            self.plain.add(name)
        return super().weight(name, values, precision)


def fold_sites(
    network: Network, orders: Mapping[str, NDArray[np.int64]], chosen: Collection[str]
) -> list[FoldSite]:
    """Returns the sites of a network: a norm before matrices, and the factor that a gated MLP
    multiplies by.

    orders: see `layer_matrices`. chosen: the matrices that are quantized. What a tensor makes must
    be read by these matrices alone, and be stored as the network reads it.
    """
    graph = _StoredAsRead()
    network.define(graph, lambda _, shape: np.broadcast_to(_PROBE, shape), precision="f32")
    makers = {tensor.index: o for o in graph.operations for tensor in o.outputs}
    readers: dict[int, list[Operation]] = {}
    for operation in graph.operations:
        for tensor in operation.inputs:
            readers.setdefault(tensor.index, []).append(operation)
    sites: list[FoldSite] = []
    for index, reading in readers.items():
        names = tuple(o.weights[0].name for o in reading if o.kind == "linear")
        if index not in makers or len(names) < len(reading) or not set(names) <= set(chosen):
            continue
        source = _source(makers[index], makers, readers, orders)
        used = () if source is None else tuple(weight.name for weight in source.weights)
        if source is not None and used and graph.plain.issuperset(used):
            sites.append(FoldSite(matrices=names, sources=used, is_norm=source.kind in _NORMS))
    return sites


def _source(
    maker: Operation,
    makers: Mapping[int, Operation],
    readers: Mapping[int, list[Operation]],
    orders: Mapping[str, NDArray[np.int64]],
) -> Operation | None:
    """Returns the operation whose weights scale what `maker` gives."""
    if maker.kind in _NORMS:
        return maker
    if maker.kind != "multiply":
        return None
    for tensor in maker.inputs:
        found = makers[tensor.index]
        if found.kind == "linear" and len(readers[tensor.index]) == 1:
            order = orders.get(found.weights[0].name)
            if order is not None and np.array_equal(order, np.arange(len(order))):
                return found
    return None
