"""Which layouts a checkpoint's description of its quantization stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmasos.errors import CheckpointError
from llmasos.files.json_file import read_json_object
from llmasos.files.regular_file import is_there

from llmasos_builder.checkpoint.huggingface.quantized.awq import AwqLayout
from llmasos_builder.checkpoint.huggingface.quantized.bitsandbytes import BlocksOfFour, RowsOfEight
from llmasos_builder.checkpoint.huggingface.quantized.block_scales import BlockScales
from llmasos_builder.checkpoint.huggingface.quantized.compressed_tensors import (
    PackedFloats,
    PackedIntegers,
    PlainNumbers,
)
from llmasos_builder.checkpoint.huggingface.quantized.gptq import GptqLayout
from llmasos_builder.checkpoint.huggingface.quantized.layout import Layout
from llmasos_builder.checkpoint.huggingface.quantized.modelopt import ModelOptNvfp4

SIDE_FILES: Mapping[str, str] = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Where AutoGPTQ and AutoAWQ once described what they did, beside config.json."""
_COMPRESSED = (
    "pack-quantized",
    "int-quantized",
    "mixed-precision",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
)
_NOT_COMPRESSED_TENSORS = ("sparsity_config", "transform_config")


def side_file(config: Mapping[str, Any], directory: Path) -> Path | None:
    """Returns the file beside config.json that alone says how weights are quantized, if any."""
    if config.get("quantization_config"):
        return None
    return next((directory / n for n in SIDE_FILES if is_there(directory / n)), None)


def layouts_of(config: Mapping[str, Any], path: Path) -> tuple[Layout, ...]:
    """Returns the layouts that the file at this path speaks of; none where it is another's.

    config: its content. Raises CheckpointError for what is said of a known method and not read.
    """
    found: Any = config.get("quantization_config") or config.get("quantization")
    if path.name in SIDE_FILES:
        found = {**config, "quant_method": SIDE_FILES[path.name]}
    if not isinstance(found, dict):
        return ()
    layouts: tuple[Layout, ...] = ()
    match found.get("quant_method", "modelopt" if "quant_algo" in found else None):
        case "gptq":
            layouts = (GptqLayout.of(found, str(path)),)
        case "awq":
            layouts = (AwqLayout.of(found, str(path)),)
        case "compressed-tensors" if found.get("format") in _COMPRESSED:
            _refuse_more(found, path)
            layouts = (PackedIntegers(), PackedFloats(), PlainNumbers())
        case "fp8" if found.get("weight_block_size") is not None:
            layouts = (BlockScales.of(found, str(path)),)
        case "modelopt" if found.get("quant_algo") == "NVFP4":
            layouts = (ModelOptNvfp4(),)
        case "bitsandbytes":
            layouts = (BlocksOfFour(), RowsOfEight())
        case _:
            pass
    return layouts


def read_layouts(config: Mapping[str, Any], directory: Path, *names: str) -> tuple[Layout, ...]:
    """Returns the layouts of a directory: what config.json says, else the first of these files."""
    beside = side_file(config, directory)
    if beside is not None:
        return layouts_of(read_json_object(beside), beside)
    found = layouts_of(config, directory / "config.json")
    for name in names:
        path = directory / name
        found = found or layouts_of(read_json_object(path, default={}), path)
    return found


def _refuse_more(found: Mapping[str, Any], path: Path) -> None:
    """Refuses what changes a network besides quantization: sparse layouts, and rotations."""
    for field in _NOT_COMPRESSED_TENSORS:
        said = found.get(field)
        if said and said != {"format": "dense"}:
            raise CheckpointError(f"{path}: {field} of compressed-tensors is not read")
