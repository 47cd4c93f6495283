"""Options of an engine, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from llmasos.engine.plan import PRECISIONS, KVCachePrecision, Precision, Target
from llmasos.errors import InvalidRequestError

from llmasos_builder.tensorrt.capabilities import check_collectives, check_gpus
from llmasos_builder.tensorrt.options import COMPUTE_TYPES

BuildTarget = Target | Literal["auto"]
"""A target, or `auto`: native if it can compile the network for this machine, else openvino."""
MAX_CANDIDATES = 3840  # of TensorRT's selection of the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of an engine.

    target: openvino for CPUs, native for those that there is machine code for, auto for native
        if it can compile the network for this machine and openvino if not, tensorrt for NVIDIA
        GPUs, tensorrt-llm to have NVIDIA's package of that name load the checkpoint.
    precision: of the weights; for tensorrt-llm it is the checkpoint's own.
    int4_except: for openvino with int4, patterns of matrices that are kept in int8
    (`llmasos_builder.architectures.matrices_in_int8`).
    kv_cache_precision: None is u8 for int8 and int4, else that of the weights; tensorrt keeps keys
    and values in the compute type, which is fp16 unless the weights are f32 or bf16.
    deterministic: a sequence's tokens do not depend on its batch: activations are not quantized,
    and KV cache and compute type are f32; slower. A native engine is deterministic without it.
    max_seq_len: None is the trained length, at most 8192.
    max_batch_size, max_num_tokens: limits of one step (`llmasos.engine.plan.Limits`).
    gpus: for tensorrt, the GPUs to compile for (`llmasos.engine.engine_io.RTX_GPUS`, or `current`).
    num_candidates, full_logits: for tensorrt, what a step returns (`TensorRTRecord`).
    tensor_parallel_size, pipeline_parallel_size: for tensorrt, the number of GPUs that share each
    matrix, and of stages that share the layers; their product is the number of GPUs.
    name: of the engine; None is the checkpoint's. revision: of a hub id.

    Raises InvalidRequestError, naming the field, its value and its limit.
    """

    target: BuildTarget = "auto"
    precision: Precision = "int8"
    int4_except: tuple[str, ...] = ()
    kv_cache_precision: KVCachePrecision | None = None
    deterministic: bool = False
    max_seq_len: int | None = None
    max_batch_size: int = 64
    max_num_tokens: int = 2048
    gpus: tuple[str, ...] = ()
    num_candidates: int = 64
    full_logits: bool = False
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    name: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        _one_of("target", self.target, ("auto", *get_args(Target)))
        on_cpu = "openvino" if self.target == "auto" else self.target
        _one_of("precision", self.precision, PRECISIONS[on_cpu], of=f" for {self.target}")
        if self.int4_except and (on_cpu, self.precision) != ("openvino", "int4"):
            raise InvalidRequestError(
                "int4_except is for target openvino with precision int4, they are "
                f"{self.target} and {self.precision}"
            )
        if self.target == "tensorrt":
            self._check_tensorrt()
        else:
            self._refuse_tensorrts_own()
        if on_cpu == "openvino":
            self._check_openvino()
        if self.target == "native" and self.kv_cache_precision not in (None, "u8"):
            raise InvalidRequestError(
                f"kv_cache_precision of target native is u8, got {self.kv_cache_precision!r}"
            )
        if self.target == "tensorrt-llm":
            self._check_tensorrt_llm()
        if self.max_seq_len is not None:
            _at_least("max_seq_len", self.max_seq_len, 2)
        _at_least("max_batch_size", self.max_batch_size, 1)
        _at_least("max_num_tokens", self.max_num_tokens, 1)
        if self.name is not None and not self.name.strip():
            raise InvalidRequestError(f"name must not be empty, got {self.name!r}")

    def _check_openvino(self) -> None:
        if self.deterministic and self.kv_cache_precision not in (None, "f32"):
            raise InvalidRequestError(
                "kv_cache_precision of a deterministic plan must be f32, got "
                f"{self.kv_cache_precision!r}"
            )
        if self.kv_cache_precision is not None:
            known = ("f32", "bf16", "u8")
            _one_of("kv_cache_precision", self.kv_cache_precision, known, of=f" for {self.target}")

    def _refuse_tensorrts_own(self) -> None:
        for_tensorrt = {
            "gpu": bool(self.gpus),
            "full_logits": self.full_logits,
            "tensor_parallel_size": self.tensor_parallel_size != 1,
            "pipeline_parallel_size": self.pipeline_parallel_size != 1,
        }
        for field, given in for_tensorrt.items():
            if given:
                raise InvalidRequestError(
                    f"{field} is for target tensorrt, target is {self.target}"
                )

    def _check_tensorrt_llm(self) -> None:
        self._refuse_deterministic()
        if self.kv_cache_precision not in (None, self.precision):
            raise InvalidRequestError(
                "kv_cache_precision of target tensorrt-llm is what the checkpoint is computed in, "
                f"got {self.kv_cache_precision!r}"
            )

    def _refuse_deterministic(self) -> None:
        if self.deterministic:
            raise InvalidRequestError(
                "deterministic is for target openvino: on a GPU it is not known which kernels "
                "a step takes"
            )

    def _check_tensorrt(self) -> None:
        check_gpus(self.gpus, self.precision)
        _at_least("tensor_parallel_size", self.tensor_parallel_size, 1)
        _at_least("pipeline_parallel_size", self.pipeline_parallel_size, 1)
        check_collectives(self.gpus, self.tensor_parallel_size)
        _at_least("num_candidates", self.num_candidates, 1)
        if self.num_candidates > MAX_CANDIDATES:
            raise InvalidRequestError(
                f"num_candidates must be at most {MAX_CANDIDATES}, got {self.num_candidates}"
            )
        self._refuse_deterministic()
        compute_type = COMPUTE_TYPES[self.precision]
        if self.kv_cache_precision not in (None, compute_type):
            raise InvalidRequestError(
                f"kv_cache_precision of target tensorrt with precision {self.precision} is "
                f"{compute_type}, got {self.kv_cache_precision!r}"
            )


def _one_of(name: str, value: str, known: tuple[str, ...], *, of: str = "") -> None:
    if value not in known:
        raise InvalidRequestError(f"{name} must be one of {', '.join(known)}{of}, got {value!r}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InvalidRequestError(f"{name} must be at least {least}, got {value}")
