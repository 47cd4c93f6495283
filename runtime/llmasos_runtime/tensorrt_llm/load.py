"""Loads the executor of a plan for TensorRT-LLM. It has never run with that package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmasos.engine.plan import EnginePlan, Limits, TensorRTLLMRecord
from llmasos.engine.plan_files import check_files
from llmasos.errors import PlanError

from llmasos_runtime.kv_cache.cache_size import num_blocks
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.tensorrt_llm.executor import TensorRTLLMExecutor
from llmasos_runtime.tensorrt_llm.library import load_library

BLOCK_SIZE = 32
"""Tokens of one of its KV blocks: its default, set explicitly so that it is known."""
_CACHE_BYTES = {"f32": 4, "fp16": 2, "bf16": 2}


def load_executor(plan: EnginePlan, limits: Limits, options: EngineOptions) -> TensorRTLLMExecutor:
    """Lets TensorRT-LLM load the plan's checkpoint, whose files are checked before.

    limits: those of the engine, at most the plan's. Raises PlanError.
    """
    record = plan.tensorrt_llm
    assert record is not None
    library = load_library()
    check_files(_directory(plan, record), record.files)
    try:
        llm = library.LLM(
            model=record.directory,
            skip_tokenizer_init=True,
            max_batch_size=limits.max_batch_size,
            max_num_tokens=limits.max_num_tokens,
            max_seq_len=limits.max_seq_len,
            enable_chunked_prefill=True,
            enable_iter_perf_stats=True,
            kv_cache_config=library.llmapi.KvCacheConfig(**_cache(plan, options)),
        )
    except Exception as error:  # whatever it is, it comes from another's program
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PlanError(f"TensorRT-LLM cannot load {record.directory}: {reason}") from error
    return TensorRTLLMExecutor(
        library,
        llm,
        max_batch_size=limits.max_batch_size,
        max_queue_size=options.max_queue_size,
    )


def _directory(plan: EnginePlan, record: TensorRTLLMRecord) -> Path:
    directory = Path(record.directory)
    if not directory.is_dir():
        raise PlanError(
            f"{plan.name} is loaded from {directory}, which does not exist",
            hint="bring the checkpoint back (in a container, mount it there), or build again",
        )
    return directory


def _cache(plan: EnginePlan, options: EngineOptions) -> dict[str, Any]:
    """Fields of KvCacheConfig; the cache's size is given in tokens, which every version accepts."""
    fields: dict[str, Any] = {
        "enable_block_reuse": options.reuse_prefixes,
        "tokens_per_block": BLOCK_SIZE,
    }
    if options.kv_cache_bytes is not None:
        token_bytes = 2 * plan.num_layers * plan.num_kv_heads * plan.head_size
        token_bytes *= _CACHE_BYTES[plan.kv_cache_precision]
        fields["max_tokens"] = num_blocks(
            plan.limits,
            options,
            block_size=1,
            block_bytes=token_bytes,
            available_bytes=options.kv_cache_bytes,
            available="kv_cache_bytes",
        )
    return fields
