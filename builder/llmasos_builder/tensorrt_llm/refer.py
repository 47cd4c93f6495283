"""A plan for TensorRT-LLM: nothing is compiled; the plan names the checkpoint to load.

NVIDIA's package reads checkpoints itself and supports more architectures than are defined here, so
only sizes of the network are read. Weights stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmasos.engine.plan import Precision, Task, TensorRTLLMRecord
from llmasos.engine.plan_files import record_file
from llmasos.errors import CheckpointError, InvalidRequestError

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.network import CacheLayout
from llmasos_builder.checkpoint import Checkpoint, is_in_fp8
from llmasos_builder.compilers import CompiledEngine, Report
from llmasos_builder.options import BuildOptions

_CONFIG_FILE = "config.json"
_TYPES: Mapping[str, Literal["f32", "fp16", "bf16"]] = {
    "float32": "f32",
    "float16": "fp16",
    "bfloat16": "bf16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSizes:
    """What a plan says of a network that is not defined here; as in `Network`."""

    vocab_size: int
    cache: CacheLayout
    max_position_embeddings: int
    task: Task = "generate"


def checkpoint_sizes(fields: Mapping[str, Any]) -> CheckpointSizes:
    """Reads sizes under the names that most config.json files use; raises CheckpointError."""
    config = Config(fields)
    num_heads = config.size("num_attention_heads")
    # Only where the size of a head is not given must the other two be there.
    given = config.has("head_dim")
    head_size = config.size("head_dim") if given else config.size("hidden_size") // num_heads
    return CheckpointSizes(
        vocab_size=config.size("vocab_size"),
        cache=CacheLayout(
            num_layers=config.size("num_hidden_layers"),
            num_kv_heads=config.size("num_key_value_heads", num_heads),
            head_size=head_size,
        ),
        max_position_embeddings=config.size("max_position_embeddings", at_least=2),
    )


def refer(checkpoint: Checkpoint, options: BuildOptions, report: Report) -> CompiledEngine:
    """Returns the plan's record of an engine that is the checkpoint itself; its files are hashed.

    Raises CheckpointError for a checkpoint that is not a directory, InvalidRequestError for a
    precision that is not the checkpoint's own.
    """
    if _CONFIG_FILE not in checkpoint.files:
        raise CheckpointError(
            f"target tensorrt-llm loads Hugging Face directories, and {checkpoint.source} is none"
        )
    computed_in = _compute_type(checkpoint.config)
    _check_precision("fp8" if is_in_fp8(checkpoint.weights) else computed_in, options.precision)
    directory = checkpoint.files[_CONFIG_FILE].parent.absolute()
    records = {}
    for done, (name, path) in enumerate(checkpoint.files.items()):
        report(done, len(checkpoint.files))
        records[name] = record_file(path, error=CheckpointError)
    report(len(records), len(records))
    return CompiledEngine(
        kv_cache_precision=computed_in,
        versions={},
        method="checkpoint",
        tensorrt_llm=TensorRTLLMRecord(directory=str(directory), files=records),
    )


def _compute_type(fields: Mapping[str, Any]) -> Literal["f32", "fp16", "bf16"]:
    """The type in config.json, which TensorRT-LLM computes in; a missing one is float32."""
    named = fields.get("dtype") or fields.get("torch_dtype") or "float32"
    own = _TYPES.get(named) if isinstance(named, str) else None
    if own is None:
        raise CheckpointError(
            f"config.json: torch_dtype must be one of {', '.join(_TYPES)} for target "
            f"tensorrt-llm, got {named!r}"
        )
    return own


def _check_precision(own: Precision, precision: Precision) -> None:
    if own != precision:
        raise InvalidRequestError(
            f"precision of target tensorrt-llm is the checkpoint's own {own}, got {precision!r}",
            hint=f"build with --precision {own}",
        )
