"""`llmasos plan`: the memory that an engine will take, before anything is built or loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from llmasos_app.cli.options import (
    MODEL_HELP,
    Int4ExceptOption,
    KVCachePrecisionOption,
    MaxBatchSizeOption,
    MaxNumTokensOption,
    MaxSeqLenOption,
    Revision,
    TargetOption,
    TargetPrecisionOption,
)

if TYPE_CHECKING:
    from llmasos_app.memory_plan import MemoryPlan
    from llmasos_app.shared_memory import SharedMemory


def plan(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            help=f"Each: {MODEL_HELP} Several are planned as `llmasos serve` serves them together.",
            show_default=False,
        ),
    ],
    *,
    target: TargetOption = "auto",
    precision: TargetPrecisionOption = None,
    int4_except: Int4ExceptOption = None,
    kv_cache_precision: KVCachePrecisionOption = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory to fit into, such as 8GB; by default what is available here, in a "
            "container its own.",
            show_default=False,
        ),
    ] = None,
    max_seq_len: MaxSeqLenOption = None,
    max_batch_size: MaxBatchSizeOption = 64,
    max_num_tokens: MaxNumTokensOption = 2048,
    as_json: Annotated[bool, typer.Option("--json", help="Print bytes as JSON.")] = False,
    revision: Revision = None,
) -> None:
    """Say what an engine will take of the memory, and how many sequences fit beside it.

    Only headers are read: config.json and those of safetensors or GGUF files; a hub id is
    downloaded first. A built repository or plan keeps its own precision and limits. Of several
    models each is printed, and then their sum and the KV cache that each gets.
    """
    from llmasos.byte_size import parse_bytes
    from llmasos.progress import show_progress

    from llmasos_app.memory_plan import plan_memory

    with show_progress() as progress:
        found = [
            plan_memory(
                checkpoint,
                target=target,
                precision=precision or "int8",
                int4_except=tuple(int4_except or ()),
                kv_cache_precision=kv_cache_precision,
                memory=None if memory is None else parse_bytes(memory, name="memory"),
                max_seq_len=max_seq_len,
                max_batch_size=max_batch_size,
                max_num_tokens=max_num_tokens,
                revision=revision,
                progress=progress,
            )
            for checkpoint in checkpoints
        ]
    _print(found, as_json=as_json)


def _print(found: Sequence[MemoryPlan], *, as_json: bool) -> None:
    from llmasos_app.shared_memory import share_memory

    shared = None if len(found) == 1 else share_memory(found, [one.name for one in found])
    if as_json:
        record = found[0].record() if shared is None else shared.record()
        typer.echo(json.dumps(record, indent=2))
        return
    for one in found:
        _print_table(one)
    if shared is not None:
        _print_sum(shared)


def _print_sum(shared: SharedMemory) -> None:
    from llmasos.byte_size import format_bytes as show
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(shared.plans)} models together", show_header=False)
    table.title_justify = "left"
    table.add_row("without KV caches", show(shared.without_cache))
    for one, size in zip(shared.plans, shared.kv_cache_bytes, strict=True):
        table.add_row(f"KV cache of {one.name}", show(size) if size else "none")
    table.add_row("with KV caches", show(shared.without_cache + sum(shared.kv_cache_bytes)))
    table.add_row("memory", f"{show(shared.memory)} {shared.plans[0].memory_source}")
    Console().print(table)


def _print_table(found: MemoryPlan) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{found.name} in {found.precision}, KV cache in {found.kv_cache_precision}"
    table = Table(title=f"{title}, for {found.target}", show_header=False, title_justify="left")
    for name, value in _rows(found).items():
        table.add_row(name, value)
    Console().print(table)


def _rows(found: MemoryPlan) -> dict[str, str]:
    from llmasos.byte_size import format_bytes as show
    from llmasos.engine.native_engine import MAX_ROWS

    sizes, need = found.sizes, found.need
    head = "the embedding" if sizes.head_bytes == 0 else show(sizes.head_bytes)
    rows = {
        "parameters": f"{sizes.num_parameters:,}",
        "weights": f"{show(need.mapped)} (embedding {show(sizes.embedding_bytes)}, layers "
        f"{show(sizes.layer_bytes)}, head {head})",
    }
    if found.target == "native":
        rows |= {
            "buffers": f"{show(need.activations)} for passes of up to {MAX_ROWS} tokens",
            "engine": f"{show(need.overhead)}: code, tokenizer",
        }
    if found.target == "openvino":
        rows |= {
            "packed matrices": f"{show(need.packed)}: the kernels' own copy",
            "activations": f"{show(need.activations)} in a step of {found.limits.max_num_tokens} "
            f"tokens, {found.limits.max_batch_size} sequences",
            "engine": f"{show(need.overhead)}: code, graph, tokenizer",
        }
    rows |= {
        "without KV cache": show(need.without_cache),
        "KV cache": f"{show(need.bytes_per_token)} a token, in blocks of {need.block_size}"
        if need.block_bytes
        else "none",
        "memory": f"{show(found.memory)} {found.memory_source}",
    }
    fits = {f"sequences of {length}": f"{count}" for length, count in found.num_sequences.items()}
    if need.without_cache > found.memory or (fits and not any(found.num_sequences.values())):
        fits = {"sequences": "none: it does not fit"}
    return rows | fits
