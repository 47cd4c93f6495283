"""Reads the tokenizer of a checkpoint directory as the one description that a plan stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmasos.files.json_file import parse_json_object, read_bytes
from llmasos.files.regular_file import is_there
from llmasos.text.tokenizer_files import TokenizerSources, resolve

_GENERATION_FILE = "generation_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFiles:
    """made: content for the plan, by file name. read: every source file."""

    made: Mapping[str, bytes]
    read: Mapping[str, Path]


def read_tokenizer_files(directory: Path) -> TokenizerFiles:
    """Returns tokenizer.json and tokenizer_config.json, and generation_config.json if it exists.

    Raises CheckpointError for a tokenizer that is missing, damaged, or not supported.
    """
    sources = TokenizerSources.read(directory)
    made = resolve(sources).files()
    read = {name: directory / name for name in sources.contents}
    generation = directory / _GENERATION_FILE
    if is_there(generation):
        made[_GENERATION_FILE] = read_bytes(generation)
        parse_json_object(made[_GENERATION_FILE], name=str(generation))
        read[_GENERATION_FILE] = generation
    return TokenizerFiles(made=made, read=read)
