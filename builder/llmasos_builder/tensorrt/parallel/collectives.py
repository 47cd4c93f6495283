"""Collectives between ranks: sums, and tensors side by side.

Each engine of a stage is given one NCCL communicator, in which its part is its rank. No two
collectives of an engine may be independent of each other: engines that run them in different
orders would wait for each other for ever.
"""

from __future__ import annotations

from typing import Any

from llmasos_builder.tensorrt.layers import Layers


def all_reduce(layers: Layers, x: Any, num_ranks: int) -> Any:
    """Returns the sum of the x of all ranks, on each of them."""
    return _collective(layers, x, "ALL_REDUCE", "SUM", num_ranks)


def side_by_side(layers: Layers, x: Any, num_ranks: int) -> Any:
    """Gathers x [rows, n] of all ranks as [rows, num_ranks, n], on each of them."""
    below = _collective(layers, x, "ALL_GATHER", "NONE", num_ranks)
    return layers.reshape(below, (num_ranks, -1, int(x.shape[1])), after=(1, 0, 2))


def _collective(layers: Layers, x: Any, operation: str, reduction: str, num_ranks: int) -> Any:
    """Adds a collective; its metadata repeats the operation, which Python cannot read back."""
    library = layers.library
    layer = layers.definition.add_dist_collective(
        x,
        getattr(library.CollectiveOperation, operation),
        getattr(library.ReduceOperation, reduction),
        -1,  # no root
        None,  # all ranks of the communicator
    )
    assert layer is not None, "TensorRT refuses a collective"
    layer.num_ranks = num_ranks
    layer.metadata = operation
    return layer.get_output(0)
