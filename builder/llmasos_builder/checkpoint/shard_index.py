"""The index beside the shards of a checkpoint, which maps tensors to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llmasos.errors import CheckpointError
from llmasos.files.json_file import read_json_object
from llmasos.files.regular_file import is_there, regular_size


def indexed_files(index: Path) -> dict[str, Path]:
    """Returns the index itself and every shard that it names, by name.

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
        if not is_there(directory / name):
            raise CheckpointError(
                f"{directory / name} does not exist; {index.name} lists {len(names)} shards"
            )
        regular_size(directory / name)  # which refuses anything but a regular file
    return {index.name: index} | {name: directory / name for name in names}


def check_apart(known: Mapping[str, object], found: Mapping[str, object], path: Path) -> None:
    """Raises CheckpointError for a tensor of the file at this path that another file has too."""
    twice = known.keys() & found.keys()
    if twice:
        raise CheckpointError(f"{path} has the tensor {min(twice)}, as another shard does")
