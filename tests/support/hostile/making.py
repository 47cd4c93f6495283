"""Parts of which hostile checkpoints are made: pickles, zip archives, headers, byte by byte."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tiny

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
SMALL = {"layers": 1, "hidden": 16, "inner": 16}


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def safetensors_of(path: Path, header: bytes | Mapping[str, Any], data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(dtype: Any, shape: Any, *offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def sparse(path: Path, size: int) -> None:
    """A file of so many bytes, of which those that are not written take no space."""
    with path.open("ab") as stream:
        stream.truncate(size)


def pickled(directory: Path, program: bytes, content: bytes = b"") -> None:
    """A torch archive in place of the safetensors; program: what is between PROTO and STOP.

    content: of its one storage.
    """
    (directory / SINGLE).unlink(missing_ok=True)
    with zipfile.ZipFile(directory / PICKLED, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("archive/data/0", content)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(count: int, key: str = "0", kind: str = "FloatStorage") -> bytes:
    named = f"ctorch\n{kind}\n".encode()
    return b"(" + text("storage") + named + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(stored: bytes, *, offset: int = 0, shape: bytes, strides: bytes) -> bytes:
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return rebuild + b"(" + stored + number(offset) + shape + strides + b"\x89}tR"


def dictionary(*items: bytes) -> bytes:
    return b"}(" + b"".join(items) + b"u"


def gguf(
    values: bytes = b"", tensors: bytes = b"", *, counts: tuple[int, int], rest: int = 0
) -> bytes:
    """counts: of tensors and of values, as the header gives them."""
    return b"GGUF" + struct.pack("<IQQ", 3, *counts) + values + tensors + bytes(rest)


def gguf_text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def gguf_value(name: bytes, kind: int, content: bytes) -> bytes:
    return gguf_text(name) + struct.pack("<I", kind) + content


def gguf_tensor(name: bytes, shape: tuple[int, ...], *, kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return gguf_text(name) + sizes + struct.pack("<IQ", kind, offset)


def sound(directory: Path) -> Path:
    return tiny.write_tiny_llama(directory, **SMALL)
