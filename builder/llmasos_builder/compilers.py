"""The compiler of each target, and what it adds to the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from llmasos.engine.engine_io import OPENVINO_FILE
from llmasos.engine.native_engine import GROUP, NativeRecord
from llmasos.engine.plan import KVCachePrecision, Limits, TensorRTLLMRecord
from llmasos.engine.tensorrt_record import TensorRTRecord
from llmasos.engine.weight_format import QuantizationMethod
from llmasos.errors import InvalidRequestError, UnsupportedArchitectureError

from llmasos_builder.architectures import Decoder, Network
from llmasos_builder.checkpoint import Weights, is_in_fp8
from llmasos_builder.graph.quantizer import CPU_METHODS
from llmasos_builder.int4_layout import int4_layout
from llmasos_builder.kv_cache_precision import kv_cache_of
from llmasos_builder.native.compile import compile_native, kind_to_build
from llmasos_builder.openvino.compile import compile_openvino
from llmasos_builder.options import BuildOptions
from llmasos_builder.tensorrt.capabilities import CURRENT, check_precision, libraries_for
from llmasos_builder.tensorrt.compile import compile_tensorrt
from llmasos_builder.tensorrt.current_gpu import current_gpu
from llmasos_builder.tensorrt.library import load_library
from llmasos_builder.tensorrt.options import COMPUTE_TYPES, NetworkOptions
from llmasos_builder.tensorrt.parallel.rank import all_ranks, check_divides, check_fused

MAX_PREFILL_LENGTH = 512
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledEngine:
    """What a plan records about its engine.

    versions: of the packages that compiled it. method: how the codes of its weights were found,
    if they are quantized. int4_group: most neighbours that share an int4 scale, where that is not
    what the precision stands for.
    """

    kv_cache_precision: KVCachePrecision
    versions: Mapping[str, str]
    method: QuantizationMethod = "rtn"
    int4_group: int | None = None
    int8_matrices: tuple[str, ...] = ()
    native: NativeRecord | None = None
    tensorrt: TensorRTRecord | None = None
    tensorrt_llm: TensorRTLLMRecord | None = None


class Compiler(Protocol):
    """Compiles for one target."""

    def compile(
        self, network: Network, weights: Weights, limits: Limits, directory: Path, report: Report
    ) -> CompiledEngine:
        """Writes the engine into the directory; report: called with the steps done and their total.

        Raises CheckpointError, InvalidRequestError, PlanError.
        """
        ...


def compiler_for(options: BuildOptions) -> Compiler:
    """Returns the compiler of the target, which is not auto any more (`settle_target`).

    Raises PlanError if it is not installed or the GPU `current` does not exist;
    InvalidRequestError if that GPU lacks the precision.
    """
    if options.target == "openvino":
        return _OpenVINO(options)
    if options.target == "native":
        return _Native(options, kind_to_build())
    gpus = options.gpus
    if gpus == (CURRENT,):
        gpus = (current_gpu(),)
        check_precision(gpus[0], options.precision)
    return _TensorRT(options, gpus, load_library(libraries_for(gpus)))


@dataclass(frozen=True, slots=True)
class _OpenVINO:
    options: BuildOptions

    def compile(
        self, network: Network, weights: Weights, limits: Limits, directory: Path, report: Report
    ) -> CompiledEngine:
        del limits  # an IR has none
        options = self.options
        kv_cache_precision = kv_cache_of(options, network)
        in_int8, int4_group = int4_layout(network, weights, options)
        compile_openvino(
            network,
            weights,
            precision=options.precision,
            output=directory / OPENVINO_FILE,
            progress=report,
            in_int8=in_int8,
            int4_group=int4_group,
        )
        return CompiledEngine(
            method=CPU_METHODS.get(options.precision, "rtn"),
            int4_group=int4_group,
            int8_matrices=in_int8,
            kv_cache_precision=kv_cache_precision,
            versions={"openvino": version("openvino")},
        )


@dataclass(frozen=True, slots=True)
class _Native:
    options: BuildOptions
    kind: str

    def compile(
        self, network: Network, weights: Weights, limits: Limits, directory: Path, report: Report
    ) -> CompiledEngine:
        decoder = _decoder(network, self.options)
        record = compile_native(
            decoder,
            weights,
            precision=self.options.precision,
            max_seq_len=limits.max_seq_len,
            kind=self.kind,
            directory=directory,
            progress=report,
        )
        names = decoder.names
        tables = (names.embedding,) if decoder.tied else (names.embedding, names.head)
        return CompiledEngine(
            method=CPU_METHODS[self.options.precision],
            int4_group=GROUP if self.options.precision == "int4" else None,
            int8_matrices=tables if self.options.precision == "int4" else (),
            kv_cache_precision="u8",
            versions={name: version(name) for name in ("numba", "llvmlite")},
            native=record,
        )


@dataclass(frozen=True, slots=True)
class _TensorRT:
    options: BuildOptions
    gpus: tuple[str, ...]
    library: Any

    def compile(
        self, network: Network, weights: Weights, limits: Limits, directory: Path, report: Report
    ) -> CompiledEngine:
        options, library = self.options, self.library
        sizes = {
            "tensor_parallel_size": options.tensor_parallel_size,
            "pipeline_parallel_size": options.pipeline_parallel_size,
        }
        decoder = _decoder(network, options)
        check_divides(decoder, **sizes)
        _check_precision(decoder, weights, options)
        shape = _shape_of(network, options, limits)
        record = TensorRTRecord(
            library=library.__name__,
            version=library.__version__,
            gpus=self.gpus,
            prefill_length=shape.prefill_length,
            num_candidates=shape.num_candidates,
            full_logits=shape.full_logits,
            **sizes,
        )
        files = [directory / name for name in record.engine_files]
        scratch_bytes = compile_tensorrt(
            decoder,
            weights,
            library=library,
            options=shape,
            gpus=self.gpus,
            outputs=dict(zip(all_ranks(**sizes), files, strict=True)),
            progress=report,
        )
        return CompiledEngine(
            kv_cache_precision=COMPUTE_TYPES[options.precision],
            versions={library.__name__: library.__version__},
            method=_method_of(weights, options),
            tensorrt=record.model_copy(update={"scratch_bytes": scratch_bytes}),
        )


def _decoder(network: Network, options: BuildOptions) -> Decoder:
    """For a target whose compiler knows what parts a decoder has."""
    if isinstance(network, Decoder):
        return network
    raise UnsupportedArchitectureError(
        f"target {options.target} compiles decoders that continue texts, and this network "
        + ("has an encoder" if network.task == "generate" else f"is for the task {network.task}"),
        hint="build for openvino",
    )


def _shape_of(network: Network, options: BuildOptions, limits: Limits) -> NetworkOptions:
    return NetworkOptions(
        precision=options.precision,
        max_batch_size=limits.max_batch_size,
        max_seq_len=limits.max_seq_len,
        prefill_length=min(limits.max_num_tokens, limits.max_seq_len, MAX_PREFILL_LENGTH),
        num_candidates=min(options.num_candidates, network.vocab_size),
        full_logits=options.full_logits,
    )


def _method_of(weights: Weights, options: BuildOptions) -> QuantizationMethod:
    return "checkpoint" if options.precision == "fp8" and is_in_fp8(weights) else "rtn"


def _check_precision(spec: Decoder, weights: Weights, options: BuildOptions) -> None:
    if COMPUTE_TYPES[options.precision] != "f32":
        check_fused(spec, tensor_parallel_size=options.tensor_parallel_size)
    # Matrices that are fp8 already stay what they are, and these queries are to be scaled.
    scaled = spec.rotary_scale != 1 and not spec.rotates_whole_heads
    if scaled and options.precision == "fp8" and is_in_fp8(weights):
        raise InvalidRequestError(
            "precision fp8 keeps the checkpoint's own fp8 matrices, and rotary positions that "
            "scale a part of each head change them",
            hint="choose fp16, bf16 or int8",
        )
