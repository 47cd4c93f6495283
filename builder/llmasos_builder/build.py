"""Builds a checkpoint into an engine plan and the Triton model repository around it."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.engine.plan import PLAN_FILE, PLAN_VERSION, CheckpointRecord, EnginePlan, Limits
from llmasos.engine.plan_files import record_file
from llmasos.engine.weight_format import stored_weights
from llmasos.errors import CheckpointError
from llmasos.files.disk import check_room
from llmasos.generation_config import GenerationConfig
from llmasos.progress import Progress
from llmasos.text.tokenizer import Tokenizer
from llmasos.version import __version__

from llmasos_builder.architectures import Network, network_of, warning_of_unread_fields
from llmasos_builder.atomic_directory import atomic_directory
from llmasos_builder.checkpoint import Checkpoint, open_checkpoint
from llmasos_builder.compilers import CompiledEngine, compiler_for
from llmasos_builder.cpu_target import settle_target, target_of
from llmasos_builder.limits import limits_of
from llmasos_builder.options import BuildOptions
from llmasos_builder.plan_records import plan_records
from llmasos_builder.repository import write_repository
from llmasos_builder.sizes import network_sizes
from llmasos_builder.tensorrt_llm.refer import CheckpointSizes, checkpoint_sizes, refer

_log = logging.getLogger("llmasos.build")


def build(
    source: str | Path,
    output: Path | str,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> Path:
    """Writes a Triton model repository of a checkpoint and returns its path.

    source: see `open_checkpoint`. output: appears complete at the end; an existing directory is
    replaced if it is empty or such a repository.
    Raises CheckpointError, UnsupportedArchitectureError, PlanError.
    """
    output = Path(output)
    with atomic_directory(output, may_replace=_is_repository) as directory:
        plan_dir = directory / PLAN_IN_REPOSITORY
        plan_dir.mkdir(parents=True)
        plan = _fill_plan(source, plan_dir, options or BuildOptions(), progress or _ignore)
        write_repository(directory, plan.task)
    return output


def build_plan(
    source: str | Path,
    plan_dir: Path | str,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> EnginePlan:
    """Writes the engine plan alone and returns the content of plan.json."""
    with atomic_directory(Path(plan_dir), may_replace=_is_plan) as directory:
        return _fill_plan(source, directory, options or BuildOptions(), progress or _ignore)


def _fill_plan(
    source: str | Path, directory: Path, options: BuildOptions, progress: Progress
) -> EnginePlan:
    make = _refer if options.target == "tensorrt-llm" else _compile
    plan = make(source, directory, options, progress)
    plan.write(directory)
    return plan


def _compile(
    source: str | Path, directory: Path, options: BuildOptions, progress: Progress
) -> EnginePlan:
    if options.target != "auto":
        compiler_for(options)  # raises before anything is downloaded
    checkpoint = open_checkpoint(source, revision=options.revision, progress=progress)
    network = network_of(checkpoint.config)
    warning = warning_of_unread_fields(checkpoint.config)
    if warning is not None:
        _log.warning("%s", warning)
    limits = limits_of(
        options, trained_for=network.max_position_embeddings, usual=network.usual_length
    )
    network = network.for_length(limits.max_seq_len)
    options, why_openvino = settle_target(options, network, limits, checkpoint.weights)
    if why_openvino is not None:
        _log.warning("compiling for openvino: %s", why_openvino)
    sizes = network_sizes(
        network,
        precision=options.precision,
        target=target_of(options),
        int4_except=options.int4_except,
    )
    check_room(directory, sizes.weight_bytes)
    tokenizer = _write_tokenizer(checkpoint, directory)
    engine = compiler_for(options).compile(
        network,
        checkpoint.weights,
        limits,
        directory,
        lambda done, total: progress("compile", done, total),
    )
    return _describe(
        checkpoint=checkpoint,
        network=network,
        tokenizer=tokenizer,
        options=options,
        engine=engine,
        limits=limits,
        directory=directory,
        progress=progress,
    )


def _refer(
    source: str | Path, directory: Path, options: BuildOptions, progress: Progress
) -> EnginePlan:
    checkpoint = open_checkpoint(source, revision=options.revision, progress=progress)
    sizes = checkpoint_sizes(checkpoint.config)
    limits = limits_of(options, trained_for=sizes.max_position_embeddings)
    engine = refer(checkpoint, options, lambda done, total: progress("hash", done, total))
    return _describe(
        checkpoint=checkpoint,
        network=sizes,
        tokenizer=_write_tokenizer(checkpoint, directory),
        options=options,
        engine=engine,
        limits=limits,
        directory=directory,
        progress=progress,
    )


def _write_tokenizer(checkpoint: Checkpoint, directory: Path) -> Tokenizer:
    for name, content in checkpoint.tokenizer_files.items():
        (directory / name).write_bytes(content)
    config = json.dumps(dict(checkpoint.config), indent=2)
    (directory / "config.json").write_text(config + "\n", encoding="utf-8")
    GenerationConfig.load(directory)  # refuses values that make no sense
    return Tokenizer.load(directory)


def _describe(
    *,
    checkpoint: Checkpoint,
    network: Network | CheckpointSizes,
    tokenizer: Tokenizer,
    options: BuildOptions,
    engine: CompiledEngine,
    limits: Limits,
    directory: Path,
    progress: Progress,
) -> EnginePlan:
    progress("check", 0, 1)
    files = {p.name: record_file(p) for p in sorted(directory.iterdir()) if p.name != PLAN_FILE}
    hashed = {} if engine.tensorrt_llm is None else engine.tensorrt_llm.files
    record = CheckpointRecord(
        source=_readable(checkpoint.source),
        revision=options.revision,
        sha256=checkpoint.sha256({name: file.sha256 for name, file in hashed.items()}),
    )
    progress("check", 1, 1)
    cache = network.cache
    return EnginePlan(
        version=PLAN_VERSION,
        name=_readable(options.name or checkpoint.name),
        task=network.task,
        target=target_of(options),
        architecture=_architecture(checkpoint.config),
        precision=options.precision,
        weights=stored_weights(options.precision, engine.method, group_size=engine.int4_group),
        int8_matrices=engine.int8_matrices,
        kv_cache_precision=engine.kv_cache_precision,
        deterministic=options.deterministic or options.target == "native",
        limits=limits,
        vocab_size=network.vocab_size,
        num_layers=0 if cache is None else cache.num_layers,
        num_kv_heads=0 if cache is None else cache.num_kv_heads,
        head_size=0 if cache is None else cache.head_size,
        eos_token_ids=tuple(i for i in tokenizer.eos_token_ids if i < network.vocab_size),
        checkpoint=record,
        built_with=_versions(engine),
        **plan_records(network, checkpoint.config, directory),
        native=engine.native,
        tensorrt=engine.tensorrt,
        tensorrt_llm=engine.tensorrt_llm,
        files=files,
    )


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    raise CheckpointError("config.json: architectures must name the network, it does not")


def _versions(engine: CompiledEngine) -> dict[str, str]:
    return {
        "llmasos": __version__,
        "python": platform.python_version(),
        **engine.versions,
        **{package: version(package) for package in ("numpy", "tokenizers")},
    }


def _is_repository(path: Path) -> bool:
    return _is_plan(path / PLAN_IN_REPOSITORY)


def _is_plan(path: Path) -> bool:
    return (path / PLAN_FILE).is_file()


def _ignore(stage: str, done: int, total: int) -> None:
    """Ignores progress reports."""


__all__ = ["BuildOptions", "build", "build_plan"]


def _readable(name: str) -> str:
    """Returns a file's name as text: bytes that are not UTF-8 are escaped as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
