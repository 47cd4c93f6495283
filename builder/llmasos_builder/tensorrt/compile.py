"""From a spec and its weights to a serialized TensorRT engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llmasos.errors import PlanError

from llmasos_builder.architectures.decoder import Load, define_decoder
from llmasos_builder.architectures.spec import DecoderSpec
from llmasos_builder.architectures.tensors import check_tensors, load_tensor
from llmasos_builder.checkpoint import Weights
from llmasos_builder.graph import Array
from llmasos_builder.tensorrt.log import shared_log
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.options import NetworkOptions


def compile_tensorrt(
    spec: DecoderSpec,
    weights: Weights,
    *,
    library: Any,
    options: NetworkOptions,
    gpus: Sequence[str],
    output: Path,
    progress: Callable[[int, int], None],
) -> None:
    """Write an engine for these GPUs to output.

    library: as `load_library` gives it. progress: told how many of how many steps are done; a
    step is a tensor that is read, or the compilation, which comes last.
    Raises CheckpointError for tensors that are missing, of another shape or of no use,
    InvalidRequestError for one that the precision cannot hold, and PlanError if TensorRT
    cannot compile the network.
    """
    total = len(check_tensors(spec, weights)) + 1
    done = 0

    def load(name: str, _shape: tuple[int, ...]) -> Array:
        nonlocal done
        values = load_tensor(weights, name)
        done += 1
        progress(done, total)
        return values

    progress(0, total)
    graph = define_network(spec, load, library=library, options=options)
    output.write_bytes(serialize(graph, gpus))
    progress(total, total)


def define_network(
    spec: DecoderSpec, load: Load, *, library: Any, options: NetworkOptions
) -> TensorRTGraph:
    """The whole network, not compiled; load: as for `define_decoder`."""
    graph = TensorRTGraph(library, options)
    define_decoder(spec, graph, load, precision=options.precision)
    return graph


def serialize(graph: TensorRTGraph, gpus: Sequence[str]) -> memoryview:
    """Compile a network for GPUs, by names as in `GPUS`.

    Raises PlanError with the first thing that TensorRT said was wrong.
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
