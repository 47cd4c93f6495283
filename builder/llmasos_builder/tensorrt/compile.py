"""Compiles a spec and its weights to a serialized TensorRT engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import PlanError
from llmasos.tensorrt_log import shared_log

from llmasos_builder.architectures.decoder.decoder import define_stage
from llmasos_builder.architectures.decoder.network import Decoder
from llmasos_builder.architectures.network import Load
from llmasos_builder.architectures.tensor_reader import TensorReader
from llmasos_builder.architectures.tensors import check_tensors
from llmasos_builder.checkpoint import Fp8Scales, Weights, fp8_scales_of
from llmasos_builder.graph import Array
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.records import RecordedTensor
from llmasos_builder.tensorrt.capabilities import check_head_size
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.options import NetworkOptions
from llmasos_builder.tensorrt.parallel.rank import WHOLE, Rank
from llmasos_builder.tensorrt.parallel.sharded_graph import ShardedGraph
from llmasos_builder.tensorrt.parallel.tensor_parallel_plan import tensor_parallel_plan


def compile_tensorrt(
    spec: Decoder,
    weights: Weights,
    *,
    library: Any,
    options: NetworkOptions,
    gpus: Sequence[str],
    outputs: Mapping[Rank, Path],
    progress: Callable[[int, int], None],
) -> int | None:
    """Writes an engine for these GPUs to the output of each rank.

    Returns the bytes of activations of the rank that needs most, if TensorRT reports it.
    library: as `load_library` returns it. progress: called with the steps done and their total; a
    step is a tensor that is read, or the compilation, which comes last for each rank.
    Raises CheckpointError for tensors that are missing, unused or of another shape,
    InvalidRequestError for a tensor that the precision cannot hold, PlanError if TensorRT cannot
    compile the network, UnsupportedArchitectureError if it has no attention for the head size.
    """
    if options.compute_type != "f32" and spec.attention_cap is None:
        check_head_size(spec.head_size)
    check_tensors(spec, weights)
    num_steps = sum(_num_tensors(spec, rank) + 1 for rank in outputs)
    reader = TensorReader(weights, progress, num_steps=num_steps)
    scales = fp8_scales_of(weights)
    shared_log(library).scratch_bytes.clear()
    for rank, output in outputs.items():
        graph = define_network(
            spec, reader, library=library, options=options, rank=rank, fp8_scales=scales
        )
        output.write_bytes(serialize(graph, gpus))
        del graph  # and its weights, before those of the next rank are read
        reader.step()
    return max(shared_log(library).scratch_bytes, default=None)


def define_network(
    spec: Decoder,
    load: Load,
    *,
    library: Any,
    options: NetworkOptions,
    rank: Rank = WHOLE,
    fp8_scales: Mapping[str, Fp8Scales] | None = None,
) -> TensorRTGraph:
    """The network of a rank, not compiled; load: as for `Network.define`; fp8_scales: as for
    `TensorRTGraph`.

    The network must divide (`check_divides`).
    """
    graph = TensorRTGraph(library, options, fp8_scales=fp8_scales)
    embedding = f"{spec.names.embedding}.weight"
    sharded = ShardedGraph(graph, rank, tensor_parallel_plan(spec, rank), embedding=embedding)
    layers = rank.layers(spec.num_layers)
    hidden = sharded.hidden_input(spec.hidden_size) if layers.start else None
    x = define_stage(spec, sharded, load, precision=options.precision, layers=layers, hidden=hidden)
    if x is not None:
        sharded.hidden_output(x)
    return graph


def _num_tensors(spec: Decoder, rank: Rank) -> int:
    """The number of tensors that a rank reads."""
    names: list[str] = []

    def note(name: str, shape: tuple[int, ...]) -> Array:
        names.append(name)
        return np.broadcast_to(np.float32(0), shape)

    layers = rank.layers(spec.num_layers)
    hidden = RecordedTensor(index=-1, width=spec.hidden_size) if layers.start else None
    define_stage(spec, RecordingGraph(), note, precision="f32", layers=layers, hidden=hidden)
    return len(names)


def serialize(graph: TensorRTGraph, gpus: Sequence[str]) -> memoryview:
    """Compiles a network for GPUs, named as in `RTX_GPUS`.

    Raises PlanError with the first error that TensorRT logged.
    """
    config = graph.builder.create_builder_config()
    config.profiling_verbosity = graph.library.ProfilingVerbosity.NONE
    for profile in graph.profiles:
        config.add_optimization_profile(profile)
    if hasattr(config, "set_compute_capability"):  # TensorRT-RTX; else it is this machine's GPU
        config.num_compute_capabilities = len(gpus)
        for index, gpu in enumerate(gpus):
            capability = getattr(graph.library.ComputeCapability, gpu.upper())
            config.set_compute_capability(capability, index)
    log = shared_log(graph.library)
    log.errors.clear()
    engine = graph.builder.build_serialized_network(graph.definition, config)
    if engine is None:
        reason = " ".join((log.errors or ["it does not say why"])[0].split())
        raise PlanError(f"TensorRT cannot compile this network for {', '.join(gpus)}: {reason}")
    return memoryview(engine)
