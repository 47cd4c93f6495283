"""`llmasos serve`: a Triton server for built repositories or checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from llmasos.errors import ServerError

from llmasos_app.cli.model import chosen_precision
from llmasos_app.cli.options import (
    MODEL_HELP,
    GenerationConfigOption,
    PrecisionOption,
    Revision,
    Threads,
)

if TYPE_CHECKING:
    from llmasos.engine.plan import Precision
    from llmasos_serving.gateway.process import GatewayOptions
    from llmasos_serving.triton.repositories.served_models import ServedRepository

_CANARY_PERIOD_S = 1.0
"""What is stuck is found a few seconds after the canary before."""
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")]


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help=f"Each: {MODEL_HELP} NAME=MODEL serves it as NAME; several models are served as "
            "their own names otherwise.",
            show_default=False,
        ),
    ],
    *,
    host: Annotated[
        str, typer.Option(help="Address where OpenAI's API and the chat page listen.")
    ] = "127.0.0.1",
    triton_host: Annotated[
        str,
        typer.Option(
            help="Address where Triton's own ports listen. They have no access control, and what "
            "reaches them can end the server."
        ),
    ] = "127.0.0.1",
    grpc_port: Port = 8001,
    http_port: Port = 8000,
    metrics_port: Port = 8002,
    openai_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of OpenAI's API and of the chat page.")
    ] = 9000,
    openai: Annotated[
        bool, typer.Option(help="Serve OpenAI's API and a chat page beside Triton.")
    ] = True,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="LLMASOS_API_KEY",
            help="Key that requests to OpenAI's API must bear; may be given again. By default "
            "none is asked for. Triton's own ports know no keys.",
            show_default=False,
        ),
    ] = None,
    max_concurrent: Annotated[
        int,
        typer.Option(
            min=1, max=768, help="Requests to OpenAI's API that may run at once, per key."
        ),
    ] = 768,
    max_requests_per_minute: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests a minute to OpenAI's API, per key, or per address without keys. By "
            "default there is no limit.",
            show_default=False,
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(help="Certificate (PEM): OpenAI's API speaks HTTPS.", show_default=False),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Private key of it (PEM).", show_default=False)
    ] = None,
    classic_names: Annotated[
        bool,
        typer.Option(
            help="Serve tensorrt_llm, tensorrt_llm_bls and the other names of the classic "
            "repository beside ours, in processes of 20 MB each."
        ),
    ] = True,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(
            help="Send OpenTelemetry traces there (OTLP over HTTP), such as "
            "http://localhost:4318/v1/traces. By default nowhere.",
            show_default=False,
        ),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(help="Start again what dies or is stuck. Without it, that is the end."),
    ] = True,
    max_restarts: Annotated[
        int, typer.Option(min=1, help="Restarts within 10 minutes before the server is given up.")
    ] = 5,
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
            help="Memory for the KV cache, such as 2GB or 512MiB; of several models, for all their "
            "caches. By default room for a full batch, but at most a quarter of what is free.",
            show_default=False,
        ),
    ] = None,
    kv_cache_split: Annotated[
        str,
        typer.Option(
            help="How several models share the memory for KV caches: by the need of a full batch "
            "of each, or equal."
        ),
    ] = "need",
    stream_interval: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of one response of a stream, after the first. By default what the "
            "repository says; unless it was changed, each token is sent at once, and what has "
            "gathered where all cores compute.",
            show_default=False,
        ),
    ] = None,
    generation_config: GenerationConfigOption = None,
    threads: Threads = None,
    precision: PrecisionOption = None,
    revision: Revision = None,
) -> None:
    """Serve one or more models with Triton until interrupted; a checkpoint is built first."""
    from llmasos.byte_size import parse_bytes
    from llmasos_serving.supervisor.foreground import serve as serve_repositories
    from llmasos_serving.triton.options import ServerOptions

    num_bytes = (
        None if kv_cache_bytes is None else parse_bytes(kv_cache_bytes, name="kv_cache_bytes")
    )
    gateway = _gateway(
        openai=openai,
        host=host,
        port=openai_port,
        api_keys=tuple(api_key or ()),
        max_concurrent=max_concurrent,
        max_requests_per_minute=max_requests_per_minute,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        otlp_endpoint=otlp_endpoint,
    )
    repositories = _repositories(models, num_bytes, kv_cache_split, precision, revision)
    options = ServerOptions(
        host=triton_host,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        classic_names=classic_names,
        restart=restart,
        max_restarts=max_restarts,
        otlp_endpoint=otlp_endpoint,
        canary_period_s=_CANARY_PERIOD_S,
        num_threads=threads,
        kv_cache_bytes=num_bytes if len(repositories) == 1 else None,
        enable_kv_cache_reuse=None if prefix_reuse else False,
        speculate=speculate,
        generation_config=generation_config,
        stream_interval=stream_interval,
    )
    if generation_config != "none":
        _warn_of_what_is_not_applied(repositories)
    raise typer.Exit(serve_repositories(repositories, options, gateway))


def _gateway(*, openai: bool, host: str, **options: Any) -> GatewayOptions | None:
    from llmasos_serving.gateway.process import GatewayOptions

    if openai:
        return GatewayOptions(host=host, **options)
    if host != "127.0.0.1":
        raise ServerError(
            f"--host {host} is where OpenAI's API listens, and --no-openai leaves that out",
            hint="--triton-host moves Triton's own ports",
        )
    return None


def _repositories(
    models: Sequence[str],
    kv_cache_bytes: int | None,
    kv_cache_split: str,
    precision: Precision | None,
    revision: str | None,
) -> list[ServedRepository]:
    from llmasos_serving.triton.installation import prepare_server

    from llmasos_app.named_checkpoint import named_checkpoints
    from llmasos_app.served_together import find_repositories, with_shared_memory
    from llmasos_app.shared_memory import checked_split

    named, split = named_checkpoints(models), checked_split(kv_cache_split)
    prepare_server()  # before the work: else that would be in vain where there can be none
    found = find_repositories(
        named,
        precision_of=lambda model: chosen_precision(model, precision),
        revision=revision,
    )
    if len(found) == 1:
        return found
    return with_shared_memory(found, kv_cache_bytes=kv_cache_bytes, split=split)


def _warn_of_what_is_not_applied(repositories: Sequence[ServedRepository]) -> None:
    """The engine's process warns too, but in the server's log."""
    from llmasos.contract import PLAN_IN_REPOSITORY
    from llmasos.engine.plan import EnginePlan
    from llmasos.generation_config import GenerationConfig

    for one in repositories:
        directory = one.repository / PLAN_IN_REPOSITORY
        warning = GenerationConfig.load(directory).for_plan(EnginePlan.read(directory)).warning()
        if warning is not None:
            typer.echo(f"warning: {warning}", err=True)
