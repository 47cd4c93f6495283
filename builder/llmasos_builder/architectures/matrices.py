"""The matrices of an int4 network that are kept in int8.

These are embeddings, and a head tied to one, since their rows are read one at a time; matrices
whose inputs no int4 group divides; those that a caller names by patterns; and those that a
checkpoint of 4 bits has in more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from llmasos.engine.weight_format import FORMATS
from llmasos.errors import InvalidRequestError

from llmasos_builder.architectures.network import Network
from llmasos_builder.graph.recording import RecordingGraph

_SUFFIX = ".weight"
_INT4_BITS = 4


def matrices_in_int8(
    network: Network, patterns: Sequence[str] = (), stored_bits: Mapping[str, int] | None = None
) -> tuple[str, ...]:
    """Their names, without the end `.weight`, in the order of the network.

    patterns: shell patterns of names; a pattern may leave out the beginning or the end, so that
    `down_proj`, `layers.0` and `self_attn.*_proj` match too. stored_bits: of the matrices that are
    quantized in the checkpoint, by name; where some have 4, the others are kept in int8 too.
    Raises InvalidRequestError for a pattern that matches no matrix.
    """
    graph = RecordingGraph()
    network.define(graph, lambda _, shape: np.broadcast_to(np.float32(0), shape), precision="int4")
    matrices = {n.removesuffix(_SUFFIX): w for n, w in graph.weights.items() if len(w.shape) == 2}
    chosen = {name for pattern in patterns for name in _matching(pattern, matrices)}
    tables = {
        weight.name.removesuffix(_SUFFIX)
        for operation in graph.operations
        if operation.kind.startswith("embed_")
        for weight in operation.weights
    }
    bits = stored_bits or {}
    is_int4 = _INT4_BITS in bits.values()
    finer = {n for n in matrices if is_int4 and bits.get(n + _SUFFIX, 16) > _INT4_BITS}
    return tuple(
        name
        for name, weight in matrices.items()
        if name in chosen | tables | finer or FORMATS["int4"].group_of(weight.shape[1]) is None
    )


def _matching(pattern: str, names: Collection[str]) -> list[str]:
    forms = (pattern, f"*.{pattern}", f"{pattern}.*", f"*.{pattern}.*")
    matched = [name for name in names if any(fnmatchcase(name, form) for form in forms)]
    if not matched:
        *_, last = names
        raise InvalidRequestError(
            f"int4_except {pattern!r} matches no matrix of the network, whose last is {last}"
        )
    return matched
