"""The formats that a checkpoint can be quantized to, by the names that compressed-tensors has.

WxAy: weights in x bits, activations in y; 16 is not quantized. Activations are quantized while the
network runs, each token by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from llmasos.errors import InvalidRequestError

from llmasos_builder.compression.integer_codes import IntegerFormat

Activations = Literal["int8", "fp8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationFormat:
    """name: as above. integers: what weights are; None is e4m3, with a scale for each row.
    activations: None are left as they are.
    """

    name: str
    integers: IntegerFormat | None
    activations: Activations | None = None

    @property
    def layout(self) -> str:
        """The name of what is written, for compressed-tensors."""
        if self.integers is None:
            return "float-quantized"
        return "pack-quantized" if self.activations is None else "int-quantized"

    def scheme(self, modules: list[str]) -> dict[str, Any]:
        """The entry of `config_groups` for these modules."""
        activations = None
        if self.activations is not None:
            activations = {
                "num_bits": 8,
                "type": "int" if self.activations == "int8" else "float",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            }
        integers = self.integers
        weights = {
            "num_bits": 8 if integers is None else integers.bits,
            "type": "float" if integers is None else "int",
            "symmetric": integers is None or integers.symmetric,
            "strategy": "channel",
            "group_size": None,
            "dynamic": False,
        }
        if integers is not None and integers.group_size is not None:
            weights |= {"strategy": "group", "group_size": integers.group_size}
        return {
            "targets": modules,
            "weights": weights,
            "input_activations": activations,
            "output_activations": None,
            "format": self.layout,
        }


_INT8_ROWS = IntegerFormat(bits=8, group_size=None)
FORMATS: Mapping[str, QuantizationFormat] = {
    found.name: found
    for found in (
        QuantizationFormat(name="W4A16", integers=IntegerFormat(bits=4, group_size=64)),
        QuantizationFormat(name="W8A16", integers=_INT8_ROWS),
        QuantizationFormat(name="W8A8", integers=_INT8_ROWS, activations="int8"),
        QuantizationFormat(name="FP8", integers=None, activations="fp8"),
    )
}


def format_of(
    name: str, *, group_size: int | None = None, symmetric: bool = True
) -> QuantizationFormat:
    """Returns a format with these groups. Raises InvalidRequestError, naming the option."""
    found = FORMATS.get(name.upper())
    if found is None:
        raise InvalidRequestError(f"format must be one of {', '.join(FORMATS)}, got {name!r}")
    integers = found.integers
    if integers is None or integers.group_size is None:
        if group_size is not None or not symmetric:
            raise InvalidRequestError(f"format {found.name} has a scale for each row, symmetric")
        return found
    size = integers.group_size if group_size is None else group_size
    if size < 16 or size % 8:
        raise InvalidRequestError(f"group-size is {size}, must be a multiple of 8 from 16 on")
    return replace(found, integers=replace(integers, group_size=size, symmetric=symmetric))
