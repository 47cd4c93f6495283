"""The KV cache: writes each sequence's new keys or values into its own slot."""

from __future__ import annotations

from collections.abc import Mapping

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.layers.formula import Formula, Inputs
from llmasos_builder.tensorrt.interpreter.numbers import Array


def _kv_cache_update(layer: Layer, inputs: Inputs) -> Array:  # noqa: ARG001
    """cache[b, :, index[b] : index[b] + S] = update[b]; cache [B, H, T, D], update [B, H, S, D].

    A row that would leave its cache is silently not written: TensorRT requires
    0 <= index[b] <= T - S and does not check it, so the caller must.
    """
    cache, update, index = inputs
    updated: Array = cache.copy()
    new = update.shape[2]
    for row, begin in enumerate(index.tolist()):
        if 0 <= begin <= cache.shape[2] - new:
            updated[row, :, begin : begin + new] = update[row]
    return updated


FORMULAS: Mapping[str, Formula] = {"KV_CACHE_UPDATE": _kv_cache_update}
