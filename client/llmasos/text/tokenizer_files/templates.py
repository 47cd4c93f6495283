"""The chat templates of a checkpoint: files take precedence over tokenizer_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from reprlib import repr as short
from typing import Any

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.sources import (
    CONFIG_FILE,
    TEMPLATE_DIRECTORY,
    TEMPLATE_FILE,
    TokenizerSources,
)


def chat_templates(
    sources: TokenizerSources, config: Mapping[str, Any]
) -> str | list[dict[str, str]] | None:
    """Returns one template, or several as tokenizer_config.json writes them: with name and
    template.

    Raises CheckpointError for anything else, and for a file that is not text.
    """
    files = {
        PurePosixPath(name).stem: sources.text(name)
        for name in sources.contents
        if name.startswith(f"{TEMPLATE_DIRECTORY}/")
    }
    if TEMPLATE_FILE in sources.contents:
        files = {"default": sources.text(TEMPLATE_FILE), **files}
    templates: Any = files or config.get("chat_template")
    if isinstance(templates, list):
        templates = _by_name(templates, sources)
    if templates is None or isinstance(templates, str):
        return templates
    if not isinstance(templates, Mapping) or not _all_texts(templates):
        raise _refusal(templates, sources)
    if list(templates) == ["default"] and files:
        return str(templates["default"])
    return [{"name": str(name), "template": text} for name, text in templates.items()]


def _by_name(listed: list[Any], sources: TokenizerSources) -> dict[Any, Any]:
    for entry in listed:
        if not isinstance(entry, Mapping) or not {"name", "template"} <= set(entry):
            raise _refusal(entry, sources)
    return {entry["name"]: entry["template"] for entry in listed}


def _all_texts(templates: Mapping[Any, Any]) -> bool:
    return all(isinstance(text, str) for text in (*templates, *templates.values()))


def _refusal(value: Any, sources: TokenizerSources) -> CheckpointError:
    return CheckpointError(
        f"{sources.path(CONFIG_FILE)}: chat_template must be a text, or a list of objects with "
        f"name and template, got {short(value)}"
    )
