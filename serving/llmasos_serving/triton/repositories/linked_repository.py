"""The model repository that one server reads: those of all its models, put together by links."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmasos.contract.repository import MODELS

from llmasos_serving.triton.links import link_repository
from llmasos_serving.triton.repositories.named_models import write_named_model
from llmasos_serving.triton.repositories.served_models import PlacedModel
from llmasos_serving.triton.server_log import ServerLog


def link_models(
    models: Sequence[PlacedModel], run_dir: Path, log: ServerLog, *, classic_names: bool
) -> Path:
    """Returns the directory that Triton is to read; the log names what its links lead to.

    Raises ServerError for a model that cannot be written under its name.
    """
    plain = next(model for model in models if model.is_plain)
    repository = plain.source.repository
    parts = plain.parts(classic_names=classic_names)
    target = link_repository(repository, run_dir, without=set(MODELS) - set(parts.values()))
    for model in models:
        _write_named(model, target, log, classic_names=classic_names)
    log.show(target, repository)
    return target


def _write_named(model: PlacedModel, target: Path, log: ServerLog, *, classic_names: bool) -> None:
    source, name = model.source, model.name
    own = {"num_threads": source.num_threads, "kv_cache_bytes": source.kv_cache_bytes}
    parts = model.parts(classic_names=classic_names)
    if model.is_plain and any(own.values()):
        (target / "engine").unlink()  # the link to one that says other numbers
    names = {} if model.is_plain else {part: new for new, part in parts.items()}
    for new, part in parts.items():
        if model.is_plain and new != name and not (part == "engine" and any(own.values())):
            continue  # it is linked
        parameters = own if part == "engine" else None
        log.show(target / new, source.repository / part)
        write_named_model(source.repository / part, target / new, names, parameters)
