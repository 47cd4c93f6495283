"""Checks that a checkpoint holds exactly the tensors that a network needs.

The definition of the network determines them: it runs once on a graph that computes nothing, and
asks for each tensor by name and shape.
"""

from __future__ import annotations

import math

import numpy as np
import psutil
from llmasos.errors import CheckpointError

from llmasos_builder.architectures.network import Network
from llmasos_builder.checkpoint import Weights
from llmasos_builder.graph import Array
from llmasos_builder.graph.recording import RecordingGraph

_VALUE_BYTES = 4
Shapes = dict[str, tuple[int, ...]]


def required_tensors(network: Network) -> Shapes:
    """Returns every tensor's name and stored shape, in the order of use."""
    shapes: Shapes = {}

    def note(name: str, shape: tuple[int, ...]) -> Array:
        shapes[name] = shape
        return np.broadcast_to(np.float32(0), shape)

    network.define(RecordingGraph(), note, precision="f32")
    return shapes


def check_tensors(network: Network, weights: Weights) -> Shapes:
    """The tensors to read, all of which the checkpoint has.

    Raises CheckpointError for a tensor that is missing, has another shape, or is not used.
    """
    required = check_shapes(network, weights)
    for name in sorted(weights.names() - required.keys()):
        if not network.ignores(name):
            _check_unused(name, network, weights)
    return required


def check_shapes(network: Network, weights: Weights) -> Shapes:
    """Does what `check_tensors` does for missing tensors and shapes; no weight is read."""
    required = required_tensors(network)
    present = weights.names()
    for name, expected in required.items():
        if name not in present:
            raise CheckpointError(
                f"the checkpoint has no tensor {name}, which must have the shape {_text(expected)}"
            )
        found = tuple(weights.shape(name))
        if found != expected:
            raise CheckpointError(
                f"tensor {name} has the shape {_text(found)}, {_text(expected)} expected"
            )
    return required


def load_tensor(weights: Weights, name: str) -> Array:
    """Returns a tensor's values; raises CheckpointError if they are not finite or too many."""
    needed, there = _VALUE_BYTES * math.prod(weights.shape(name)), psutil.virtual_memory().total
    if needed > there:  # the system might grant it, and end the process when it is used
        raise CheckpointError(
            f"tensor {name} of the shape {_text(weights.shape(name))} needs {needed} bytes of "
            f"memory, this machine has {there}"
        )
    try:
        values = weights.load(name)
    except MemoryError as error:
        raise CheckpointError(
            f"tensor {name} of the shape {_text(weights.shape(name))} does not fit into memory"
        ) from error
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise CheckpointError(f"tensor {name} holds values that are not finite numbers")
    return values


def _check_unused(name: str, network: Network, weights: Weights) -> None:
    original = network.copies().get(name)
    if original is None:
        raise CheckpointError(
            f"the checkpoint has the tensor {name}, which the network in its config.json "
            "does not use"
        )
    same_shape = tuple(weights.shape(name)) == tuple(weights.shape(original))
    if not same_shape or not np.array_equal(
        load_tensor(weights, name), load_tensor(weights, original)
    ):
        raise CheckpointError(
            f"tensor {name} differs from {original}, though config.json "
            "says by tie_word_embeddings that they are one"
        )


def _text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
