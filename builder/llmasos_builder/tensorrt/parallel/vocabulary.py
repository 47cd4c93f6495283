"""A vocabulary sliced over ranks: each has the embeddings of neighbouring tokens.

A lookup gives zeros for tokens of other ranks, so that the ranks' sum is the whole lookup. A rank
computes the logits of its own tokens; the ranks exchange once what all need: the likeliest tokens
of each rank, and the log-sum-exp over its tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmasos_builder.tensorrt.candidates import likeliest, log_sum_exp, output_named
from llmasos_builder.tensorrt.layers import Layers
from llmasos_builder.tensorrt.parallel.collectives import side_by_side


def embed_own(layers: Layers, token_ids: Any, table: Any, own: range) -> Any:
    """Looks up rows of table [own tokens, width] by token_ids [n]; zeros for other ranks'
    tokens.
    """
    library, definition, constants = layers.library, layers.definition, layers.constants
    operation = library.ElementWiseOperation

    def elementwise(a: Any, b: Any, kind: Any) -> Any:
        return definition.add_elementwise(a, b, kind).get_output(0)

    first, least, most = (constants.int32(np.full(1, i)) for i in (own.start, 0, len(own) - 1))
    rows = layers.subtract(token_ids, first)
    inside = elementwise(elementwise(rows, most, operation.MIN), least, operation.MAX)
    found = elementwise(rows, inside, operation.EQUAL)
    factors = layers.unsqueeze(layers.cast(found, constants.dtype), 1)
    return layers.multiply(layers.gather(table, inside), factors)


def output_candidates_of_all(
    layers: Layers,
    logits: Any,
    *,
    own: range,
    num_ranks: int,
    num_candidates: int,
    full_logits: bool,
) -> None:
    """Adds the outputs of `output_candidates`, from a rank's own logits [B, own tokens].

    Everything is exchanged in f32, in which token ids are exact.
    """
    library, constants = layers.library, layers.constants
    logits = layers.cast(logits, library.float32)
    values, ids = likeliest(layers, logits, num_candidates)
    ids = layers.add(layers.cast(ids, library.float32), constants.float32([[own.start]]))
    told = [values, ids, log_sum_exp(layers, logits), *([logits] if full_logits else [])]
    widths = [int(tensor.shape[1]) for tensor in told]
    together = side_by_side(layers, layers.concat(told, axis=1), num_ranks)
    ends = np.cumsum([0, *widths]).tolist()
    found = [
        _columns_of_all(layers, together, start, width)
        for start, width in zip(ends[:-1], widths, strict=True)
    ]
    best, places = likeliest(layers, found[0], num_candidates)
    output_named(
        layers,
        candidate_logits=best,
        candidate_ids=layers.cast(_picked(layers, found[1], places), library.int32),
        log_sum_exp=log_sum_exp(layers, found[2]),
        logits=found[3] if full_logits else None,
    )


def _columns_of_all(layers: Layers, x: Any, start: int, width: int) -> Any:
    """Converts x [B, ranks, n] to [B, ranks * width] of the columns from `start` on."""
    _, num_ranks, columns = x.shape
    flat = layers.reshape(x, (-1, int(columns)))
    return layers.reshape(layers.columns(flat, start, width), (-1, int(num_ranks) * width))


def _picked(layers: Layers, x: Any, indices: Any) -> Any:
    """Returns x[row, indices[row, i]] for x [rows, n]."""
    layer = layers.definition.add_gather_v2(x, indices, layers.library.GatherMode.ELEMENT)
    assert layer is not None, "TensorRT refuses to pick"
    layer.axis = 1
    return layer.get_output(0)
