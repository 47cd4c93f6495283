"""Opens a GGUF file that was split into shards as one.

llama.cpp's `gguf-split` names them NAME-00001-of-00003.gguf and so on. The metadata of each has its
index (split.no, from 0) and their number (split.count); the first holds all other metadata,
including the vocabulary.
"""

from __future__ import annotations

import re
from pathlib import Path

from llmasos.errors import CheckpointError
from llmasos.files.regular_file import is_there

from llmasos_builder.checkpoint.gguf.file import GGUFFile

_SHARD_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
COUNT, NUMBER, NUM_TENSORS = "split.count", "split.no", "split.tensors.count"


def open_gguf_file(path: Path) -> GGUFFile:
    """Returns a whole file, or the first shard with the tensors of all; path: any of them.

    Raises CheckpointError for a shard that is missing, damaged or of another file.
    """
    file = GGUFFile(path)
    count = file.metadata.get(COUNT, 0)
    if not isinstance(count, int):
        raise CheckpointError(f"{path}: {COUNT} must be a number, got {count!r}")
    if count <= 1:
        return file
    shards = [GGUFFile(shard) for shard in _paths(path, count)]
    for number, shard in enumerate(shards):
        found = (shard.metadata.get(NUMBER), shard.metadata.get(COUNT))
        if found != (number, count):
            raise CheckpointError(
                f"{shard.path} says that it is shard {found[0]} (from 0) of {found[1]}, its name "
                f"that it is {number} of {count}"
            )
    return _joined(shards)


def without_shard(name: str) -> str:
    """Returns the name that a file had before it was split, without its suffix."""
    match = _SHARD_NAME.fullmatch(name)
    return Path(name).stem if match is None else match["stem"]


def shard_pattern(name: str) -> str:
    """Returns a pattern that matches all shards of a file, given one of them."""
    match = _SHARD_NAME.fullmatch(name)
    return name if match is None else f"{match['stem']}-?????-of-{match['count']}.gguf"


def _paths(path: Path, count: int) -> list[Path]:
    match = _SHARD_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise CheckpointError(
            f"{path} is one of {count} shards, and not called NAME-00001-of-{count:0>5}.gguf or "
            "alike, so the others cannot be found"
        )
    names = [f"{match['stem']}-{i:05}-of-{match['count']}.gguf" for i in range(1, count + 1)]
    missing = [name for name in names if not is_there(path.with_name(name))]
    if missing:
        raise CheckpointError(
            f"{path} is one of {count} shards, of which {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing beside it"
        )
    return [path.with_name(name) for name in names]


def _joined(shards: list[GGUFFile]) -> GGUFFile:
    first = shards[0]
    for shard in shards[1:]:
        twice = first.tensors.keys() & shard.tensors.keys()
        if twice:
            raise CheckpointError(
                f"{shard.path} has the tensor {min(twice)}, as another shard does"
            )
        first.tensors.update(shard.tensors)
    wanted = first.metadata.get(NUM_TENSORS, len(first.tensors))
    if len(first.tensors) != wanted:
        raise CheckpointError(
            f"{first.path} and its shards hold {len(first.tensors)} tensors, {wanted} expected"
        )
    first.paths = tuple(shard.path for shard in shards)
    return first
