"""The matrices of a network's layers, and the order in which a checkpoint stores their rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from llmasos.engine.plan import Precision
from llmasos.errors import InvalidRequestError, UnsupportedArchitectureError
from numpy.typing import NDArray

from llmasos_builder.architectures.network import Network
from llmasos_builder.graph.graph import Array
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.records import RecordedWeight

_SUFFIX = ".weight"


class _RowNumbers(RecordingGraph):
    """Is given each matrix with the number of its row in every element."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, NDArray[np.int64] | None] = {}

    def weight(self, name: str, values: Array, precision: Precision) -> RecordedWeight:
        if values.ndim == 2:
            first = values[:, 0].astype(np.int64)
            whole = np.array_equal(np.sort(first), np.arange(len(values)))
            self.rows[name] = first if whole and (values == values[:, :1]).all() else None
        return super().weight(name, values, precision)


def layer_matrices(network: Network) -> Mapping[str, NDArray[np.int64]]:
    """Returns the matrices of the layers in the order of use, without output head and embeddings:
    by name the stored row of each row that the network has.

    Raises UnsupportedArchitectureError for matrices that the checkpoint stores transposed, or
    scales.
    """
    graph = _RowNumbers()

    def numbered(_name: str, shape: tuple[int, ...]) -> Array:
        rows = np.arange(shape[0], dtype=np.float32)
        return np.broadcast_to(rows.reshape(-1, *[1] * (len(shape) - 1)), shape)

    network.define(graph, numbered, precision="f32")
    tables = {o.weights[0].name for o in graph.operations if o.kind.startswith("embed_")}
    names = [o.weights[0].name for o in graph.operations if o.kind == "linear"]
    found: dict[str, NDArray[np.int64]] = {}
    for name in dict.fromkeys(names):
        if name in tables or network.role_of(name) == "head":
            continue
        rows = graph.rows[name]
        if rows is None:
            raise UnsupportedArchitectureError(
                f"{name} is stored transposed or is scaled when it is read, so that it cannot be "
                "quantized in the checkpoint",
                hint="build the checkpoint as it is, in int8 or int4",
            )
        found[name] = rows
    return found


def sharing_inputs(network: Network) -> Mapping[str, str]:
    """Returns for each matrix the first that has the same inputs, as query is for key and value:
    engines join such matrices, so that they should have one format.
    """
    graph = RecordingGraph()
    network.define(graph, lambda _, s: np.broadcast_to(np.float32(0), s), precision="f32")
    first: dict[int, str] = {}
    shared: dict[str, str] = {}
    for operation in graph.operations:
        if operation.kind == "linear":
            name = operation.weights[0].name
            shared[name] = first.setdefault(operation.inputs[0].index, name)
    return shared


def without_ignored(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Returns the names that no pattern matches.

    patterns: shell patterns of module names that may leave out the beginning or the end, such as
    `down_proj` or `layers.0`; after `re:`, regular expressions of whole module names.
    Raises InvalidRequestError for a pattern that matches nothing.
    """
    ignored: set[str] = set()
    for pattern in patterns:
        matched = {n for n in names if _matches(n.removesuffix(_SUFFIX), pattern)}
        if not matched and pattern not in ("lm_head", "re:.*lm_head"):  # never quantized
            raise InvalidRequestError(
                f"ignore {pattern!r} matches no matrix of the layers, whose last is "
                f"{names[-1].removesuffix(_SUFFIX)}"
            )
        ignored |= matched
    return [name for name in names if name not in ignored]


def _matches(module: str, pattern: str) -> bool:
    if pattern.startswith("re:"):
        try:
            return re.fullmatch(pattern[3:], module) is not None
        except re.error as error:
            raise InvalidRequestError(
                f"ignore {pattern!r} is no regular expression: {error}"
            ) from error
    forms = (pattern, f"*.{pattern}", f"{pattern}.*", f"*.{pattern}.*")
    return any(fnmatchcase(module, form) for form in forms)
