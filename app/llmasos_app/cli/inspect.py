"""`llmasos inspect`: what is in a built engine."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from llmasos.byte_size import format_bytes
from llmasos.errors import PlanError

if TYPE_CHECKING:
    from llmasos.engine.plan import EnginePlan
    from llmasos.engine.tensorrt_record import TensorRTRecord
    from llmasos.generation_config import GenerationConfig


def inspect(
    path: Annotated[Path, typer.Argument(help="A built repository or plan.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show what an engine was built from, its limits and its files, after checking them."""
    from llmasos.engine.plan import EnginePlan
    from llmasos.generation_config import GenerationConfig

    from llmasos_app.cache.engine_cache import find_built

    plan_dir = find_built(path)
    if plan_dir is None:
        raise PlanError(f"{path} is neither a built repository nor a plan")
    plan = EnginePlan.load(plan_dir)
    if as_json:
        typer.echo(plan.model_dump_json(indent=2))
    else:
        _print_table(plan, plan_dir, GenerationConfig.load(plan_dir).for_plan(plan))


def _print_table(plan: EnginePlan, plan_dir: Path, recommended: GenerationConfig) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{plan.name} in {plan_dir}", show_header=False, title_justify="left")
    for name, value in (_rows(plan) | _recommended_rows(recommended)).items():
        table.add_row(name, value)
    Console().print(table)


def _rows(plan: EnginePlan) -> dict[str, str]:
    limits = plan.limits
    return {
        "architecture": plan.architecture,
        "target": plan.target,
        "task": plan.task,
        "weights": str(plan.weights),
        **_int8_rows(plan),
        "KV cache": plan.kv_cache_precision,
        "deterministic": "yes" if plan.deterministic else "no",
        "layers": f"{plan.num_layers}, {plan.num_kv_heads} KV heads of {plan.head_size}",
        "vocabulary": f"{plan.vocab_size} tokens, ends with {_ids(plan.eos_token_ids)}",
        "one sequence": f"up to {limits.max_seq_len} tokens (max_seq_len)",
        "one step": f"up to {limits.max_batch_size} sequences (max_batch_size), "
        f"{limits.max_num_tokens} tokens (max_num_tokens)",
        **_native_rows(plan),
        **_tensorrt_rows(plan),
        **_tensorrt_llm_rows(plan),
        "checkpoint": f"{plan.checkpoint.source}, sha256 {plan.checkpoint.sha256[:16]}",
        "built with": ", ".join(f"{name} {v}" for name, v in plan.built_with.items()),
        **{
            f"file {name}": f"{format_bytes(record.size)}, sha256 {record.sha256[:16]}"
            for name, record in plan.files.items()
        },
    }


def _recommended_rows(config: GenerationConfig) -> dict[str, str]:
    """What a request that says nothing gets, and what the checkpoint asks for in vain."""
    not_applied = ", ".join(f"{name} {value}" for name, value in config.not_applied.items())
    return {
        f"from {config.source}": config.described() or "no sampling defaults",
        **({"not supported yet": not_applied} if not_applied else {}),
    }


def _int8_rows(plan: EnginePlan) -> dict[str, str]:
    """Matrices of one kind in several layers are counted."""
    kinds = Counter(re.sub(r"\.\d+\.", ".*.", name) for name in plan.int8_matrices)
    counted = [f"{kind} ({count})" if "*" in kind else kind for kind, count in kinds.items()]
    return {"in int8": ", ".join(counted)} if counted else {}


def _native_rows(plan: EnginePlan) -> dict[str, str]:
    return {} if plan.native is None else {"machine code": ", ".join(plan.native.code)}


def _tensorrt_rows(plan: EnginePlan) -> dict[str, str]:
    record = plan.tensorrt
    if record is None:
        return {}
    return {
        "TensorRT": f"{record.library} {record.version}",
        "GPUs": ", ".join(record.gpus),
        "prefill": f"up to {record.prefill_length} tokens of one sequence in one step",
        "a step returns": f"the {record.num_candidates} likeliest tokens of each sequence"
        + (" and all logits" if record.full_logits else ""),
        **_parallel_rows(record),
    }


def _tensorrt_llm_rows(plan: EnginePlan) -> dict[str, str]:
    record = plan.tensorrt_llm
    if record is None:
        return {}
    size = sum(file.size for file in record.files.values())
    return {"loaded from": f"{record.directory}, {len(record.files)} files of {format_bytes(size)}"}


def _parallel_rows(record: TensorRTRecord) -> dict[str, str]:
    if record.num_ranks == 1:
        return {}
    return {
        "ranks": f"{record.num_ranks} engines, a GPU for each: "
        f"{record.tensor_parallel_size} parts of each matrix (tensor_parallel_size), "
        f"{record.pipeline_parallel_size} stages of layers (pipeline_parallel_size)"
    }


def _ids(token_ids: tuple[int, ...]) -> str:
    return ", ".join(map(str, token_ids)) or "none"
