"""`llmasos serve`: a Triton server for a built repository or a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmasos_app.cli.model import chosen_precision
from llmasos_app.cli.options import (
    GenerationConfigOption,
    Model,
    PrecisionOption,
    Revision,
    Threads,
)

Port = Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")]


def serve(
    model: Model,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Port = 8001,
    http_port: Port = 8000,
    metrics_port: Port = 8002,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start again when the engine dies.")
    ] = False,
    prefix_reuse: Annotated[
        bool, typer.Option(help="Prefix caching: share the KV blocks of prompts that begin alike.")
    ] = True,
    speculate: Annotated[
        bool | None,
        typer.Option(
            help="Speculative decoding by prompt lookup, where that is faster. "
            "By default only where it cannot change a token, in f32.",
            show_default=False,
        ),
    ] = None,
    kv_cache_bytes: Annotated[
        str | None,
        typer.Option(
            help="Memory for the KV cache, such as 2GB or 512MiB. By default room for a full "
            "batch, but at most a quarter of what is free.",
            show_default=False,
        ),
    ] = None,
    stream_interval: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of one response of a stream, after the first. More than 1 leaves the "
            "engine more of the processor, and text comes in larger pieces. By default what "
            "the repository says, 1 unless it was changed.",
            show_default=False,
        ),
    ] = None,
    generation_config: GenerationConfigOption = None,
    threads: Threads = None,
    precision: PrecisionOption = None,
    revision: Revision = None,
) -> None:
    """Serve a model with Triton until interrupted; a checkpoint is built first."""
    from llmasos.byte_size import parse_bytes
    from llmasos_serving.triton.installation import prepare_server
    from llmasos_serving.triton.launcher import serve as serve_repository
    from llmasos_serving.triton.options import ServerOptions

    from llmasos_app.cache.engine_cache import find_repository

    num_bytes = (
        None if kv_cache_bytes is None else parse_bytes(kv_cache_bytes, name="kv_cache_bytes")
    )
    prepare_server()  # before the work: else that would be in vain where there can be none
    repository = find_repository(
        model, precision=chosen_precision(model, precision), revision=revision
    )
    options = ServerOptions(
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        restart=restart,
        num_threads=threads,
        kv_cache_bytes=num_bytes,
        enable_kv_cache_reuse=None if prefix_reuse else False,
        speculate=speculate,
        generation_config=generation_config,
        stream_interval=stream_interval,
    )
    if generation_config != "none":
        _warn_of_what_is_not_applied(repository)
    raise typer.Exit(serve_repository(repository, options))


def _warn_of_what_is_not_applied(repository: Path) -> None:
    """The engine's process warns too, but in the server's log."""
    from llmasos.contract import PLAN_IN_REPOSITORY
    from llmasos.engine.plan import EnginePlan
    from llmasos.generation_config import GenerationConfig

    directory = repository / PLAN_IN_REPOSITORY
    warning = GenerationConfig.load(directory).for_plan(EnginePlan.read(directory)).warning()
    if warning is not None:
        typer.echo(f"warning: {warning}", err=True)
