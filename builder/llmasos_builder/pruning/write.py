"""Writes tensors as one safetensors file, one tensor in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from llmasos_builder.graph import Array


def write_safetensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], load: Callable[[str], Array]
) -> None:
    """Write tensors as float32. load: gives the tensor of a name, in the shape said for it.

    The file is the length of its header (8 bytes), the header (JSON) and the tensors.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, size = end, 4
        for length in shape:
            size *= length
        end = begin + size
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in shapes:
            file.write(load(name).astype("<f4").tobytes())
