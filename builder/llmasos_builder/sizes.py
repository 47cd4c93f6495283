"""Sizes of a network, computed before a weight is read.

The definition of the network gives the weights and their uses; a checkpoint's headers show whether
it has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from llmasos.engine.network_sizes import NetworkSizes
from llmasos.engine.plan import Precision, Target
from llmasos.engine.weight_format import FORMATS
from llmasos.errors import CheckpointError
from llmasos.files.json_file import read_json_object
from llmasos.progress import Progress

from llmasos_builder.architectures import Network, matrices_in_int8, network_of
from llmasos_builder.architectures.encoder_decoder.network import EncoderDecoder
from llmasos_builder.architectures.tensors import check_shapes
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.graph import Array
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.records import RecordedWeight
from llmasos_builder.tensorrt.options import COMPUTE_TYPES

_BITS = {"f32": 32, "fp16": 16, "bf16": 16, "int8": 8, "fp8": 8, "int4": 4, "nvfp4": 4}
_SCALE_BYTES = 4


def checkpoint_spec(source: str, *, revision: str | None = None, progress: Progress) -> Network:
    """Returns the network of a checkpoint after checking in its headers that all weights exist.

    A hub id is downloaded first. Raises CheckpointError, UnsupportedArchitectureError.
    """
    checkpoint = open_checkpoint(source, revision=revision, progress=progress)
    network = network_of(checkpoint.config)
    check_shapes(network, checkpoint.weights)
    return network


def plan_spec(plan_dir: Path) -> Network:
    """Returns the network of a built plan, from its config.json."""
    path = plan_dir / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist, so that the plan's sizes are not known")
    return network_of(read_json_object(path))


def network_sizes(
    network: Network, *, precision: Precision, target: Target, int4_except: Sequence[str] = ()
) -> NetworkSizes:
    """Returns the sizes of an engine in this precision for this target.

    int4_except: see BuildOptions. Raises InvalidRequestError for a pattern that matches nothing.
    """
    graph = RecordingGraph()
    network.define(graph, _nothing, precision=precision)
    tables = _used_by(graph, "embed_tokens") | _used_by(graph, "embed_positions")
    matrices = {n for n in _used_by(graph, "linear") if len(graph.weights[n].shape) == 2}
    in_int8: set[str] = set()
    if precision == "int4" and target in ("openvino", "native"):
        in_int8 = {f"{name}.weight" for name in matrices_in_int8(network, int4_except)}
    if target == "native":
        in_int8 |= {name for name in matrices if network.role_of(name) == "head"}
    stored = {
        name: _stored_bytes(weight, target, is_table=name in tables, in_int8=name in in_int8)
        for name, weight in graph.weights.items()
    }
    head = {n for n in matrices - tables if network.role_of(n) == "head"}
    outputs = {n for n in matrices if network.role_of(n) == "mlp_output"}
    cache = network.cache
    return NetworkSizes(
        num_parameters=sum(math.prod(weight.shape) for weight in graph.weights.values()),
        embedding_bytes=sum(stored[name] for name in tables),
        layer_bytes=sum(stored[name] for name in stored.keys() - tables - head),
        head_bytes=sum(stored[name] for name in head),
        matrix_bytes=sum(stored[name] for name in matrices),
        mlp_output_bytes=sum(stored[name] for name in outputs),
        num_layers=cache.num_layers if cache else 0,
        num_heads=network.num_heads,
        num_kv_heads=cache.num_kv_heads if cache else 0,
        head_size=cache.head_size if cache else 0,
        hidden_size=network.hidden_size,
        widest=max((graph.weights[n].shape[0] for n in matrices - tables - head), default=0),
        vocab_size=network.vocab_size,
        num_soft_capped_heads=0 if network.attention_cap is None else network.num_heads,
        has_encoder=isinstance(network, EncoderDecoder),
    )


def _used_by(graph: RecordingGraph, kind: str) -> set[str]:
    return {w.name for o in graph.operations if o.kind == kind for w in o.weights}


def _stored_bytes(weight: RecordedWeight, target: Target, *, is_table: bool, in_int8: bool) -> int:
    """Returns the bytes in which the target's compiler stores a weight."""
    precision: Precision = "int8" if in_int8 else weight.precision
    if is_table and target == "tensorrt":
        precision = COMPUTE_TYPES[precision]
    count = math.prod(weight.shape)
    return count * _BITS[precision] // 8 + _num_scales(weight.shape, precision) * _SCALE_BYTES


def _num_scales(shape: tuple[int, ...], precision: Precision) -> int:
    stored = FORMATS[precision]
    if stored.group_size is not None:
        rows, columns = shape
        return rows * columns // (stored.group_of(columns) or columns)
    return shape[0] if precision == "int8" else 0


def _nothing(_name: str, shape: tuple[int, ...]) -> Array:
    """Returns values that take no memory."""
    return np.broadcast_to(np.float32(0), shape)
