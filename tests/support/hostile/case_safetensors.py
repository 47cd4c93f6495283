"""Safetensors whose headers lie about what is in the file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hostile.making import INDEX, SINGLE, change_json, entry, safetensors_of, sparse


def _header(data: bytes = b"", /, **tensors: Any) -> Callable[[Path], None]:
    return _tensors(tensors, data)


def _tensors(tensors: Mapping[str, Any], data: bytes = b"") -> Callable[[Path], None]:
    return lambda directory: safetensors_of(directory / SINGLE, tensors, data)


def _raw(header: bytes, data: bytes = b"") -> Callable[[Path], None]:
    return lambda directory: safetensors_of(directory / SINGLE, header, data)


def _length(length: int) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / SINGLE).write_bytes(struct.pack("<Q", length) + b"{}")

    return change


def _sparse_header(directory: Path) -> None:
    _length(2 << 30)(directory)
    sparse(directory / SINGLE, 3 << 30)


def _empty(directory: Path) -> None:
    (directory / SINGLE).write_bytes(b"")


def _sparse(directory: Path, *, fits: bool) -> None:
    """60 GB of zeros; fits: config.json asks for them."""
    rows, width = 15 << 16, 1 << 14
    size = rows * width * 4
    shape = [rows, width] if fits else [size // 4]
    path = directory / SINGLE
    header = {"model.embed_tokens.weight": entry("F32", shape, 0, size)}
    safetensors_of(path, header)
    sparse(path, path.stat().st_size + size)
    if fits:
        heads = {"hidden_size": width, "head_dim": 16, "vocab_size": rows}
        change_json(directory / "config.json", **heads)
        inner = _rest(directory, width)
        safetensors_of(directory / "rest.safetensors", *inner)
        path.rename(directory / "first.safetensors")
        names = dict.fromkeys(inner[0], "rest.safetensors")
        shards = {**names, "model.embed_tokens.weight": "first.safetensors"}
        (directory / INDEX).write_text(json.dumps({"weight_map": shards}))


def _rest(directory: Path, width: int) -> tuple[dict[str, Any], bytes]:
    config = json.loads((directory / "config.json").read_text())
    inner, at = config["intermediate_size"], "model.layers.0."
    shapes = {
        "model.norm.weight": (width,),
        f"{at}input_layernorm.weight": (width,),
        f"{at}post_attention_layernorm.weight": (width,),
        f"{at}self_attn.q_proj.weight": (64, width),
        f"{at}self_attn.k_proj.weight": (32, width),
        f"{at}self_attn.v_proj.weight": (32, width),
        f"{at}self_attn.o_proj.weight": (width, 64),
        f"{at}mlp.gate_proj.weight": (inner, width),
        f"{at}mlp.up_proj.weight": (inner, width),
        f"{at}mlp.down_proj.weight": (width, inner),
    }
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = entry("F32", shape, end, end + size)
        end += size
    return header, bytes(end)


def _two_files(directory: Path) -> None:
    content = (directory / SINGLE).read_bytes()
    for name in ("a.safetensors", "b.safetensors"):
        (directory / name).write_bytes(content)
    (directory / SINGLE).unlink()
    shards = {"x": "a.safetensors", "y": "b.safetensors"}
    (directory / INDEX).write_text(json.dumps({"weight_map": shards}))


DAMAGED = "is damaged: tensor a has"
CASES: dict[str, tuple[Callable[[Path], Path | None], str]] = {
    "60 GB that no config asks for": (
        lambda d: _sparse(d, fits=False),
        "has the shape",
    ),
    "60 GB that a config asks for": (
        lambda d: _sparse(d, fits=True),
        "memory",  # of a machine, or of the process where that has more
    ),
    "a header of 2^64": (_length(2**64 - 1), "truncated or not a safetensors file"),
    "a header of 2 GB": (_length(2 << 30), "truncated or not a safetensors file"),
    "a header of 2 GB in a sparse file": (
        _sparse_header,
        f"has {2 << 30} bytes, at most {100 << 20} are read",
    ),
    "an empty file": (_empty, "truncated or no"),
    "a header of lists": (_raw(b"[]"), "must hold a JSON object"),
    "a header that is deep": (_raw(b'{"a":' * 10**6), "deeper than 64"),
    "a header that is no text": (_raw(b"\xff" * 100), "is not valid JSON"),
    "a tensor twice": (
        _raw(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'),
        "the key 'a' appears twice",
    ),
    "tensors that overlap": (
        _header(bytes(12), a=entry("F32", [2], 4, 12), b=entry("F32", [2], 0, 8)),
        "as its first, ",
    ),
    "a thousand tensors of one place": (
        _tensors({f"t{i}": entry("F32", [1], 0, 4) for i in range(1000)}, bytes(4)),
        "as its first, ",
    ),
    "a gap": (_header(bytes(12), a=entry("F32", [1], 8, 12)), f"{DAMAGED} byte"),
    "bytes behind the last": (_header(bytes(12), a=entry("F32", [1], 0, 4)), "its header promises"),
    "negative offsets": (_header(a=entry("F32", [1], -4, 0)), f"{DAMAGED} sizes"),
    "offsets backwards": (_header(bytes(8), a=entry("F32", [1], 8, 4)), DAMAGED),
    "a shape that overflows": (
        _header(bytes(4), a=entry("F32", [2**33, 2**33], 0, 4)),
        f"{DAMAGED} 4 bytes, which do not make",
    ),
    "a shape whose product is a multiple of 2^64": (
        _header(bytes(0), a=entry("F32", [2**32, 2**32], 0, 0)),
        f"{DAMAGED} 0 bytes, which do not make",
    ),
    "a shape of fractions": (_header(bytes(4), a=entry("F32", [1.0], 0, 4)), f"{DAMAGED} sizes"),
    "a shape of flags": (_header(bytes(4), a=entry("F32", [True], 0, 4)), f"{DAMAGED} sizes"),
    "a million dimensions": (
        _header(bytes(4), a=entry("F32", [1] * 10**6, 0, 4)),
        f"{DAMAGED} 1000000 dimensions, at most 16",
    ),
    "an unknown type": (
        _header(bytes(4), a=entry("F31", [1], 0, 4)),
        f"{DAMAGED} the unknown type",
    ),
    "a type that is a list": (_header(bytes(4), a=entry([], [1], 0, 4)), "the unknown type"),
    "a tensor that is a number": (_header(a=3), f"{DAMAGED} a malformed entry"),
    "a tensor with a name of a megabyte": (
        _tensors({"n" * (1 << 20) + "\n\x1b[31m": entry("F32", [0], 0, 0)}),
        "the checkpoint has no tensor",
    ),
    "a tensor of zeros dimensions": (
        _tensors({"model.embed_tokens.weight": entry("F32", [0, 2**62], 0, 0)}),
        "has the shape [0, 4611686018427387904]",
    ),
    "a tensor in two shards": (_two_files, "b.safetensors has the tensor"),
}
