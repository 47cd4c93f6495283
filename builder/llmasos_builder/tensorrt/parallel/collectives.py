"""What ranks tell each other: sums and tensors side by side.

Each engine of a stage is given one communicator of NCCL's, in which it is the rank that its
part says. No two collectives of an engine may be independent of each other: engines that
compute them in different orders would wait for each other for ever.
"""

from __future__ import annotations

from typing import Any

from llmasos_builder.tensorrt.layers import Layers


def all_reduce(layers: Layers, x: Any, num_ranks: int) -> Any:
    """The sum of the x of all ranks, on each of them."""
    return _collective(layers, x, "ALL_REDUCE", "SUM", num_ranks)


def side_by_side(layers: Layers, x: Any, num_ranks: int) -> Any:
    """x [rows, n] of all ranks, [rows, num_ranks, n], on each of them."""
    below = _collective(layers, x, "ALL_GATHER", "NONE", num_ranks)
    return layers.reshape(below, (num_ranks, -1, int(x.shape[1])), after=(1, 0, 2))


def _collective(layers: Layers, x: Any, operation: str, reduction: str, num_ranks: int) -> Any:
    """Python cannot ask such a layer for its operation, which its metadata repeats therefore."""
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
