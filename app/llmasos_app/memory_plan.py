"""What an engine will take of the memory, put together from what the houses know of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos.engine.network_sizes import NetworkSizes
from llmasos.engine.plan import EnginePlan, KVCachePrecision, Limits, Precision, Target
from llmasos.errors import InvalidRequestError, PlanError
from llmasos.progress import Progress

from llmasos_app.cache.engine_cache import find_built

if TYPE_CHECKING:
    from llmasos_builder.architectures import Network
    from llmasos_builder.options import BuildOptions, BuildTarget
    from llmasos_runtime.machine.memory_need import MemoryNeed

_LENGTHS = (256, 1024, 4096, 16384, 65536)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """memory: bytes to fit into, and memory_source where that number is from.

    kv_cache_precision: that which the cache really has on this machine.
    """

    name: str
    target: Target
    precision: Precision
    kv_cache_precision: KVCachePrecision
    limits: Limits
    sizes: NetworkSizes
    need: MemoryNeed
    memory: int
    memory_source: str

    @property
    def num_sequences(self) -> dict[int, int]:
        """How many sequences fit at once, by their length: some lengths, and max_seq_len.

        Nothing for an engine without a KV cache, as an encoder's.
        """
        if not self.need.block_bytes:
            return {}
        longest = self.limits.max_seq_len
        lengths = [length for length in _LENGTHS if length < longest] + [longest]
        return {length: self.need.num_sequences(self.memory, length) for length in lengths}

    def record(self) -> dict[str, Any]:
        """All of it for machines; sizes are bytes."""
        return {
            "name": self.name,
            "target": self.target,
            "precision": self.precision,
            "kv_cache_precision": self.kv_cache_precision,
            "limits": self.limits.model_dump(),
            "network": dataclasses.asdict(self.sizes),
            "mapped_bytes": self.need.mapped,
            "packed_bytes": self.need.packed,
            "activation_bytes": self.need.activations,
            "overhead_bytes": self.need.overhead,
            "without_kv_cache_bytes": self.need.without_cache,
            "kv_block_size": self.need.block_size,
            "kv_block_bytes": self.need.block_bytes,
            "kv_bytes_per_token": self.need.bytes_per_token,
            "memory_bytes": self.memory,
            "num_sequences": {str(n): count for n, count in self.num_sequences.items()},
        }


def plan_memory(
    checkpoint: str,
    *,
    target: BuildTarget,
    precision: Precision,
    kv_cache_precision: KVCachePrecision | None,
    int4_except: tuple[str, ...],
    memory: int | None,
    max_seq_len: int | None,
    max_batch_size: int,
    max_num_tokens: int,
    revision: str | None,
    progress: Progress,
) -> MemoryPlan:
    """Of a checkpoint that is built with these options, or of what is built already.

    memory: None is what is available here. Raises CheckpointError, InvalidRequestError,
    UnsupportedArchitectureError, PlanError.
    """
    plan_dir = find_built(checkpoint)
    if plan_dir is not None:
        return plan_of_built(plan_dir, memory=memory)
    if target == "tensorrt-llm":
        raise InvalidRequestError(
            f"target must be auto, openvino, native or tensorrt, got {target!r}"
        )
    # The builder brings the compiler along.
    from llmasos_builder.options import BuildOptions  # noqa: PLC0415
    from llmasos_builder.sizes import checkpoint_spec  # noqa: PLC0415

    options = BuildOptions(
        target=target,
        gpus=("current",) if target == "tensorrt" else (),
        precision=precision,
        int4_except=int4_except,
        kv_cache_precision=kv_cache_precision,
        max_seq_len=max_seq_len,
        max_batch_size=max_batch_size,
        max_num_tokens=max_num_tokens,
    )
    spec = checkpoint_spec(checkpoint, revision=revision, progress=progress)
    return _of_network(spec, options, name=Path(checkpoint).name, memory=memory)


def _of_network(
    network: Network, options: BuildOptions, *, name: str, memory: int | None
) -> MemoryPlan:
    from llmasos_builder.cpu_target import settle_target, target_of  # noqa: PLC0415
    from llmasos_builder.limits import limits_of  # noqa: PLC0415
    from llmasos_builder.sizes import network_sizes  # noqa: PLC0415

    limits = limits_of(
        options, trained_for=network.max_position_embeddings, usual=network.usual_length
    )
    options, _ = settle_target(options, network.for_length(limits.max_seq_len), limits)
    target, precision = target_of(options), options.precision
    return _plan(
        network_sizes(network, precision=precision, target=target, int4_except=options.int4_except),
        name=name,
        target=target,
        precision=precision,
        kv_cache=_kv_cache_of(options, network),
        limits=limits,
        memory=memory,
    )


def plan_of_built(plan_dir: Path, *, memory: int | None) -> MemoryPlan:
    """Of an engine that is built; raises PlanError for one whose memory only its loader knows."""
    from llmasos_builder.sizes import network_sizes, plan_spec  # noqa: PLC0415

    plan = EnginePlan.read(plan_dir)
    if plan.target == "tensorrt-llm":
        raise PlanError(f"{plan.name} is loaded by TensorRT-LLM, which alone knows its memory")
    return _plan(
        network_sizes(
            plan_spec(plan_dir),
            precision=plan.precision,
            target=plan.target,
            int4_except=plan.int8_matrices,
        ),
        name=plan.name,
        target=plan.target,
        precision=plan.precision,
        kv_cache=plan.kv_cache_precision,
        limits=plan.limits,
        memory=memory,
        engine_bytes=sum(r.size for n, r in plan.files.items() if n.endswith((".bin", ".trt"))),
        num_gpus=1 if plan.tensorrt is None else plan.tensorrt.num_ranks,
    )


def _plan(
    sizes: NetworkSizes,
    *,
    name: str,
    target: Target,
    precision: Precision,
    kv_cache: KVCachePrecision,
    limits: Limits,
    memory: int | None,
    engine_bytes: int | None = None,
    num_gpus: int = 1,
) -> MemoryPlan:
    if target == "tensorrt":
        from llmasos_runtime.tensorrt.memory import tensorrt_need  # noqa: PLC0415

        need = tensorrt_need(sizes, limits, compute=kv_cache, engine_bytes=engine_bytes)
    elif target == "native":
        from llmasos_runtime.native.memory_need import native_need  # noqa: PLC0415

        need = native_need(sizes, limits, engine_bytes=engine_bytes)
    else:
        from llmasos_runtime.openvino.memory import here_computed_in, openvino_need  # noqa: PLC0415

        compute = here_computed_in(precision, kv_cache)
        kv_cache = kv_cache if kv_cache == "u8" else compute
        need = openvino_need(
            sizes,
            limits,
            precision=precision,
            compute=compute,
            kv_cache=kv_cache,
            engine_bytes=engine_bytes,
        )
    return MemoryPlan(
        name=name,
        target=target,
        precision=precision,
        kv_cache_precision=kv_cache,
        limits=limits,
        sizes=sizes,
        need=need,
        memory=_available(target, num_gpus) if memory is None else memory,
        memory_source="available here" if memory is None else "given",
    )


def _kv_cache_of(options: BuildOptions, network: Network) -> KVCachePrecision:
    from llmasos_builder.kv_cache_precision import kv_cache_of  # noqa: PLC0415
    from llmasos_builder.tensorrt.options import COMPUTE_TYPES  # noqa: PLC0415

    if options.target == "tensorrt":
        return COMPUTE_TYPES[options.precision]
    if options.target == "native":
        return "u8"
    return kv_cache_of(options, network)


def _available(target: Target, num_gpus: int) -> int:
    """Of this machine, or of the container; of its first GPUs for an engine that runs there."""
    from llmasos_runtime.machine.resources import available_memory_bytes  # noqa: PLC0415
    from llmasos_runtime.tensorrt.machine import ThisMachine  # noqa: PLC0415

    if target in ("openvino", "native"):
        return available_memory_bytes()
    driver = ThisMachine().driver()
    gpus = () if driver is None else driver.gpus
    if len(gpus) < num_gpus:
        raise InvalidRequestError(
            f"memory must be given, such as 24GB: of the GPUs that it needs ({num_gpus}) "
            f"this machine has {len(gpus)}"
        )
    return sum(gpu.free_bytes for gpu in gpus[:num_gpus])
