"""The index beside the shards of a checkpoint, which says which tensor lies in which file."""

from __future__ import annotations

from pathlib import Path

from llmasos.errors import CheckpointError
from llmasos.json_file import read_json_object


def indexed_files(index: Path) -> dict[str, Path]:
    """The index itself and every shard that it names, by name.

    Raises CheckpointError for an index that is wrong or names a file that is missing.
    """
    directory = index.parent
    shards = read_json_object(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(v, str) for v in shards.values()):
        raise CheckpointError(f"{index}: weight_map must map tensor names to file names")
    names = sorted(set(shards.values()))
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{index}: {name!r} is not a file name")
        if not (directory / name).is_file():
            raise CheckpointError(
                f"{directory / name} does not exist; {index.name} lists {len(names)} shards"
            )
    return {index.name: index} | {name: directory / name for name in names}
