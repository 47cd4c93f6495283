"""From a network and its weights to the two files of a native engine."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.engine.native_engine import (
    CPU_KINDS,
    FORMAT,
    STEP_SYMBOL,
    WEIGHTS_FILE,
    NativeCode,
    NativeRecord,
    padded,
)
from llmasos.engine.plan import Precision
from llmasos.errors import PlanError

from llmasos_builder.architectures.network import Network
from llmasos_builder.architectures.tensor_reader import TensorReader
from llmasos_builder.architectures.tensors import check_tensors
from llmasos_builder.checkpoint import Weights
from llmasos_builder.native.code_cache import step_code
from llmasos_builder.native.lower import lower
from llmasos_builder.native.lowered import LoweredNetwork
from llmasos_builder.native.parts import parts_of
from llmasos_builder.native.shape import StepShape
from llmasos_builder.native.weights_file import WeightsFile, WritingGraph

BITS = {"int8": 8, "int4": 4}


def kind_to_build() -> str:
    """The kind of this machine's processor. Raises PlanError where nothing can be compiled."""
    missing = [name for name in ("numba", "llvmlite") if find_spec(name) is None]
    if missing:
        raise PlanError(
            f"target native is compiled with {' and '.join(missing)}, not installed here",
            hint="pip install numba llvmlite",
        )
    kind = this_cpu_kind()
    if kind is None:
        raise PlanError(
            f"target native has code for {', '.join(CPU_KINDS)}, and this processor is none of "
            "them",
            hint="build for openvino",
        )
    return kind


def compile_native(
    defined: Network,
    weights: Weights,
    *,
    precision: Precision,
    max_seq_len: int,
    kind: str,
    directory: Path,
    progress: Callable[[int, int], None],
) -> NativeRecord:
    """Write the weights' file and the code's file; returns what the plan says of them.

    progress: told how many of how many steps are done; a step is a tensor that is read, or the
    code that is compiled last.
    Raises UnsupportedArchitectureError for what the kernels do not compute, CheckpointError for
    tensors that are missing, of another shape or of no use.
    """
    network = lower(defined, max_seq_len=max_seq_len)
    load = TensorReader(weights, progress, num_steps=len(check_tensors(defined, weights)) + 1)
    parts = parts_of(network, bits=BITS[precision], max_seq_len=max_seq_len)
    file = WeightsFile(directory / WEIGHTS_FILE, network, parts)
    defined.define(WritingGraph(file), load, precision=precision)
    file.close()
    code = _write_code(network, precision, kind, directory)
    load.step()
    return NativeRecord(
        format=FORMAT,
        code={kind: code},
        hidden_size=network.hidden_size,
        intermediate_size=network.intermediate_size,
        num_heads=network.num_heads,
        norm_eps=network.norm_eps,
    )


def _write_code(
    network: LoweredNetwork, precision: Precision, kind: str, directory: Path
) -> NativeCode:
    shape = StepShape(
        bits=BITS[precision],
        head=padded(network.head_size),
        query_heads=network.num_heads // network.num_kv_heads,
        layer_norm=network.layer_norm,
        logit_cap=network.logit_cap,
        embedding_norm=network.embedding_norm is not None,
        **network.kind._asdict(),
    )
    name = f"code.{kind}.o"
    (directory / name).write_bytes(step_code(shape, kind))
    return NativeCode(file=name, symbol=STEP_SYMBOL)
