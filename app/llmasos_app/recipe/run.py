"""Runs a recipe's stages, each into a directory of its own, and keeps those that are done.

    DIRECTORY/1-prune/        what the stage wrote; of evaluate, what it printed in output.json
    DIRECTORY/1-prune.begun   shows that the directory is the recipe's own, and may be replaced
    DIRECTORY/1-prune.done    the digest of everything that the stage depends on

A stage whose digest is the same is kept. A stage that was stopped is run again; quantize and
distill then go on where they were.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, cast

import typer
from llmasos.engine.plan_files import record_file
from llmasos.errors import InvalidRequestError, PlanError
from llmasos.files.disk import not_written
from llmasos.version import __version__

from llmasos_app.recipe.recipe import FILES, Recipe, Stage

Commands = Mapping[str, Any]
"""Typer's commands by name. Some releases of it bring a click of their own, so that no class of
click's can be named here.
"""
Say = Callable[[str], object]
_UsageError: Any = typer.BadParameter.__mro__[1]


def run_recipe(recipe: Recipe, directory: Path, commands: Commands, say: Say) -> Path:
    """Runs all stages, and returns the directory of the last one.

    commands: those of `llmasos`, by their names. say: takes a line for each stage. Every stage's
    options are checked before the first one runs.
    Raises InvalidRequestError, which names the stage, and what the commands raise.
    """
    for stage in recipe.stages:
        _context(commands, stage, _positions(stage, recipe.checkpoint, recipe.checkpoint), Path())
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(directory, error, error=PlanError) from error
    source, key = recipe.checkpoint, _source_key(recipe.checkpoint)
    output = directory
    for number, stage in enumerate(recipe.stages, start=1):
        output = directory / f"{number}-{stage.command}"
        key = _digest(key, recipe.checkpoint, stage)
        done = output.with_name(f"{output.name}.done")
        if _read(done) == key and output.exists():
            say(f"{stage.place}: kept, {output}")
        else:
            say(f"{stage.place} ...")
            done.unlink(missing_ok=True)
            _clear(output)
            positions = _positions(stage, source, recipe.checkpoint)
            _run(commands, stage, positions, output, say)
            done.write_text(key, encoding="ascii")
        if stage.command != "evaluate":
            source = str(output)
    return output


def _clear(output: Path) -> None:
    """Removes what a recipe wrote before. Raises PlanError for a directory of somebody else."""
    begun = output.with_name(f"{output.name}.begun")
    if output.exists() and not begun.exists():
        raise PlanError(f"{output} is in the way: no recipe wrote it")
    begun.touch()
    shutil.rmtree(output, ignore_errors=True)


def _positions(stage: Stage, source: str, teacher: str) -> list[str]:
    return [teacher, source] if stage.command == "distill" else [source]


def _context(commands: Commands, stage: Stage, positions: list[str], output: Path) -> Any:
    """Parses a stage's options. Raises InvalidRequestError for what its command does not take."""
    given = ["--json"] if stage.command == "evaluate" else ["--output", str(output)]
    arguments = [*stage.arguments(), *given, "--", *positions]
    try:
        return commands[stage.command].make_context(stage.command, arguments)
    except _UsageError as error:
        raise InvalidRequestError(f"{stage.place}: {error.format_message()}") from error


def _run(commands: Commands, stage: Stage, positions: list[str], output: Path, say: Say) -> None:
    """Runs one command; what `evaluate` prints becomes output.json."""
    printed = StringIO()
    with _context(commands, stage, positions, output) as context, redirect_stdout(printed):
        context.command.invoke(context)
    text = printed.getvalue()
    if stage.command != "evaluate":
        say(text.rstrip())
        return
    output.mkdir()
    (output / "output.json").write_text(text, encoding="utf-8")
    record = cast("dict[str, Any]", json.loads(text))
    say(f"perplexity {record['perplexity']:.3f}{_distance(record['distance'])}")


def _distance(record: Mapping[str, Any] | None) -> str:
    return "" if record is None else f", KL {record['kl_divergence']:.4f} to {record['name']}"


def _source_key(checkpoint: str) -> str:
    from llmasos_builder.fingerprint import fingerprint  # noqa: PLC0415 - imports a compiler

    return json.dumps([__version__, fingerprint(checkpoint, revision=None)], default=str)


def _digest(key: str, teacher: str, stage: Stage) -> str:
    """Digests what a stage depends on: all stages before it, its options, the files it reads."""
    files = [
        record_file(Path(str(value)), error=InvalidRequestError).sha256
        for name, value in stage.options.items()
        if name in FILES
    ]
    parts = [key, teacher, stage.command, dict(stage.options), files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
