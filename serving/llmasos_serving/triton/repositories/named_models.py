"""Writes models of a repository under other names, into the private directory of a server.

A model is its config.pbtxt, changed where it names itself, its siblings or a path through them,
and links to its versions. What users changed in that file stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from llmasos.contract.repository import CONFIG_FILE
from llmasos.errors import ServerError
from tritonclient.grpc import model_config_pb2

_pb2: Any = model_config_pb2  # its classes are made at run time, so that no checker knows them


def write_named_model(
    source: Path,
    target: Path,
    names: Mapping[str, str],
    parameters: Mapping[str, int | None] | None = None,
) -> None:
    """Writes the model in the directory `source` to `target`, whose name becomes its name.

    names: the new name of each part of the repository, by its old one. parameters: replace those
    of the model, except where they are None. Raises ServerError for a file that is no
    configuration.
    """
    if target.exists():
        raise ServerError(
            f"the repository {source.parent} has a model named {target.name} already",
            hint="name=checkpoint serves a model under another name",
        )
    config = _read(source / CONFIG_FILE)
    config.name = target.name
    for step in config.ensemble_scheduling.step:
        step.model_name = names.get(step.model_name, step.model_name)
    for parameter in config.parameters.values():
        parameter.string_value = _moved(parameter.string_value, names)
    for name, value in (parameters or {}).items():
        if value is not None:
            config.parameters[name].string_value = str(value)
    target.mkdir()
    for entry in source.iterdir():
        if entry.name != CONFIG_FILE:
            (target / entry.name).symlink_to(entry)
    (target / CONFIG_FILE).write_text(text_format.MessageToString(config), encoding="utf-8")


def _read(path: Path) -> Any:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), _pb2.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ServerError(
            f"{path} cannot be read: {error}", hint="`llmasos build` writes it anew"
        ) from error


def _moved(text: str, names: Mapping[str, str]) -> str:
    """A path through a sibling, such as ../../engine/1/plan, with the sibling's new name."""
    parts = text.split("/")
    if parts[:2] == ["..", ".."] and len(parts) > 2 and parts[2] in names:
        parts[2] = names[parts[2]]
    return "/".join(parts)
