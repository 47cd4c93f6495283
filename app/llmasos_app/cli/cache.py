"""`llmasos cache`: the built engines that were kept, and how to be rid of them.

Beside them are the Python environments of the Triton server, where this Python is too new.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from llmasos.errors import InvalidRequestError, PlanError

if TYPE_CHECKING:
    from llmasos_app.cache.engine_store import CachedEngine

_DAY_S = 86400.0
_ENVIRONMENT = "Python packages of the Triton server"

cache = typer.Typer(help="Built engines that are kept for the next use.", no_args_is_help=True)


@cache.command("ls")
def list_engines(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the built engines, that used last first, and the Triton server's environments.

    Together the engines take at most what LLMASOS_CACHE_BYTES says (20GB): those unused for
    longest go when a new one needs the room.
    """
    from llmasos_app.cache.engine_store import cached_engines, cached_environments

    engines, environments = cached_engines(), cached_environments()
    if as_json:
        typer.echo(json.dumps([_record(one) for one in (*engines, *environments)], indent=2))
    else:
        _print_table(engines, environments)


@cache.command("rm")
def remove_engines(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names as `cache ls` shows them.", show_default=False)
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove everything that `cache ls` lists.")
    ] = False,
    older_than: Annotated[
        float | None,
        typer.Option(min=0, help="Remove those unused for this many days.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove what `cache ls` lists; what a process uses stays, and is an error."""
    from llmasos.byte_size import format_bytes

    from llmasos_app.cache.engine_store import (
        cached_engines,
        cached_environments,
        remove_engine,
        remove_leftovers,
    )

    if bool(names) + everything + (older_than is not None) != 1:
        raise InvalidRequestError("give either names, --all or --older-than")
    remove_leftovers()
    chosen = _choose([*cached_engines(), *cached_environments()], names, older_than)
    if not chosen:
        typer.echo("there is nothing to remove")
        return
    size = format_bytes(sum(engine.size for engine in chosen))
    if _is_terminal() and not yes:
        listed = ", ".join(engine.name for engine in chosen)
        typer.confirm(f"Remove {listed} ({size})?", abort=True)
    kept: list[PlanError] = []
    for engine in chosen:
        try:
            remove_engine(engine)
        except PlanError as error:
            kept.append(error)
        else:
            typer.echo(f"removed {engine.name}: {format_bytes(engine.size)}")
    if kept:
        raise PlanError("; ".join(map(str, kept)))


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _choose(
    engines: list[CachedEngine], names: list[str] | None, older_than: float | None
) -> list[CachedEngine]:
    if older_than is not None:
        return [e for e in engines if time.time() - e.last_used >= older_than * _DAY_S]
    if not names:
        return engines
    by_name = {engine.name: engine for engine in engines}
    for name in names:
        if name not in by_name:
            raise InvalidRequestError(f"the cache has no {name!r}: see `llmasos cache ls`")
    return [by_name[name] for name in dict.fromkeys(names)]


def _print_table(engines: list[CachedEngine], environments: list[CachedEngine]) -> None:
    from llmasos.byte_size import format_bytes
    from llmasos.cache import engines_dir, server_environments_dir
    from rich.console import Console
    from rich.table import Table

    from llmasos_app.cache.engine_store import size_limit

    table = Table(box=None, pad_edge=False)
    for column in ("size", "last used", "weights", "target", "name", "checkpoint"):
        table.add_column(column, no_wrap=True, justify="right" if column == "size" else "left")
    for engine in engines:
        checkpoint, precision, target = _origin(engine)
        size, when = format_bytes(engine.size), _when(engine)
        table.add_row(size, when, precision, target, engine.name, checkpoint)
    for one in environments:
        table.add_row(format_bytes(one.size), _when(one), "", "", one.name, _ENVIRONMENT)
    total = format_bytes(sum(engine.size for engine in engines))
    console = Console()
    # Whole names, for `cache rm`: a terminal wraps a line that is longer than it is wide.
    Console(width=max(console.width, 200)).print(table)
    console.print(
        f"{len(engines)} in {engines_dir()}: {total} of at most {format_bytes(size_limit())}",
        soft_wrap=True,
        highlight=False,
    )
    if environments:
        size = format_bytes(sum(one.size for one in environments))
        text = f"{len(environments)} in {server_environments_dir()}: {size}"
        console.print(text, soft_wrap=True, highlight=False)


def _origin(engine: CachedEngine) -> tuple[str, str, str]:
    plan = engine.plan
    if plan is None:
        return "not readable by this release", "", ""
    return plan.checkpoint.source, plan.precision, plan.target


def _when(engine: CachedEngine) -> str:
    if engine.in_use:
        return "in use"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(engine.last_used))


def _record(engine: CachedEngine) -> dict[str, object]:
    plan = engine.plan
    return {
        "name": engine.name,
        "checkpoint": plan and plan.checkpoint.source,
        "precision": plan and plan.precision,
        "target": plan and plan.target,
        "size_bytes": engine.size,
        "last_used_s": engine.last_used,
        "in_use": engine.in_use,
        "path": str(engine.path),
    }
