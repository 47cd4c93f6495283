"""Writes a safetensors file, one tensor in memory at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DTYPES: Mapping[str, Any] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
}
Entry = tuple[str, tuple[int, ...]]
"""The type of a tensor by its name in the file, and its shape."""


def write_safetensors(
    path: Path, entries: Mapping[str, Entry], load: Callable[[str], NDArray[Any]]
) -> None:
    """Write tensors. load: gives the tensor of a name, in the type and shape said for it.

    The file is the length of its header (8 bytes), the header (JSON) and the tensors.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in entries.items():
        begin, end = end, end + DTYPES[kind].itemsize * math.prod(shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, (kind, shape) in entries.items():
            values = load(name)
            assert (values.dtype, values.shape) == (DTYPES[kind], shape), name
            file.write(np.ascontiguousarray(values).tobytes())
