"""Files that are no regular files, have impossible names, or are far too large."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hostile.making import INDEX, PICKLED, SINGLE, sparse

NAMES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "hf_quant_config.json",
    "chat_template.jinja",
    SINGLE,
)


def _replaced(directory: Path, name: str, make: Callable[[Path], object]) -> None:
    (directory / name).unlink(missing_ok=True)
    make(directory / name)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _pickled(directory: Path, make: Callable[[Path], object]) -> None:
    _replaced(directory, SINGLE, lambda _: None)
    make(directory / PICKLED)


def _sharded(directory: Path, *names: str, make: Callable[[Path], object] | None = None) -> None:
    (directory / SINGLE).unlink()
    shards = {f"tensor{i}": name for i, name in enumerate(names)}
    (directory / INDEX).write_text(json.dumps({"weight_map": shards}))
    if make is not None:
        make(directory / names[0])


def _cached(directory: Path) -> None:
    """As the Hugging Face cache has it: links to blobs outside the directory."""
    blobs = directory.with_name("blobs")
    blobs.mkdir()
    for path in sorted(directory.iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(f"../blobs/{path.name}")


def _gguf_pipe(directory: Path) -> Path:
    os.mkfifo(directory / "m.gguf")
    return directory / "m.gguf"


CASES: dict[str, tuple[Callable[[Path], Path | None], str]] = {
    **{
        f"{name} is a pipe": (
            partial(_replaced, name=name, make=os.mkfifo),
            f"{name} is a named pipe, only regular files are read",
        )
        for name in NAMES
    },
    **{
        f"{name} is an endless device": (
            partial(_replaced, name=name, make=_link("/dev/zero")),
            f"{name} is a character device, only regular files are read",
        )
        for name in NAMES
    },
    "config.json is a directory": (
        partial(_replaced, name="config.json", make=os.mkdir),
        "config.json is a directory, only",
    ),
    "config.json leads nowhere": (
        partial(_replaced, name="config.json", make=_link("nowhere")),
        "config.json is a link that leads nowhere",
    ),
    "tokenizer_config.json leads nowhere": (
        partial(_replaced, name="tokenizer_config.json", make=_link("nowhere")),
        "tokenizer_config.json is a link that leads nowhere",
    ),
    "config.json leads to itself": (
        partial(_replaced, name="config.json", make=_link("config.json")),
        "config.json cannot be read: Too many levels",
    ),
    "the weights lead nowhere": (
        partial(_replaced, name=SINGLE, make=_link("nowhere")),
        f"{SINGLE} is a link that leads nowhere",
    ),
    "pickled weights are a pipe": (partial(_pickled, make=os.mkfifo), "is a named pipe"),
    "pickled weights lead to memory": (
        partial(_pickled, make=_link("/proc/self/mem")),
        "cannot be read",
    ),
    "a GGUF file is a pipe": (_gguf_pipe, "m.gguf is a named pipe, only regular"),
    "links as the hub's cache has them": (_cached, ""),
    "a config.json of 60 GB": (
        lambda d: sparse(d / "config.json", 60 << 30),
        f"config.json has {60 << 30} bytes, at most {16 << 20} are read",
    ),
    "a tokenizer.json of 60 GB": (
        lambda d: sparse(d / "tokenizer.json", 60 << 30),
        f"tokenizer.json has {60 << 30} bytes, at most {256 << 20} are read",
    ),
    "a template of 60 GB": (
        lambda d: sparse(d / "chat_template.jinja", 60 << 30),
        f"chat_template.jinja has {60 << 30} bytes, at most {4 << 20} are read",
    ),
    "a shard that is a pipe": (
        lambda d: _sharded(d, "a.safetensors", make=os.mkfifo),
        "a.safetensors is a named pipe",
    ),
    "a shard with a name of thousands of characters": (
        lambda d: _sharded(d, "n" * 8000 + ".safetensors"),
        "cannot be read: File name too long",
    ),
    "a shard with NUL in its name": (
        lambda d: _sharded(d, "a\0b.safetensors"),
        "embedded null",
    ),
    "a shard with a line break in its name": (
        lambda d: _sharded(d, "a\nb\x1b[31m.safetensors"),
        "a\\nb\\x1b[31m.safetensors does not exist",
    ),
    "a shard above the directory": (
        lambda d: _sharded(d, "../../secret.safetensors"),
        "'../../secret.safetensors' is not a file name",
    ),
    "a shard that is the directory above": (
        lambda d: _sharded(d, ".."),
        ".. is a directory, only regular files",
    ),
    "an index of a million shards": (
        lambda d: _sharded(d, *(f"{i}.safetensors" for i in range(10**6))),
        "0.safetensors does not exist; model.safetensors.index.json lists 1000000 shards",
    ),
    "an index of no names": (
        lambda d: _sharded(d, *([3] * 4)),  # type: ignore[arg-type]
        "weight_map must map tensor names to file names",
    ),
}
