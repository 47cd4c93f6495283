"""How the weights of an engine are stored, apart from how the stored numbers were found.

A `WeightFormat` is what a kernel has to know: the kind of number, and which neighbours share a
scale. A `QuantizationMethod` is how the builder chose codes and scales: two methods can fill the
same format, and no kernel can tell them apart. A `Precision` is the short name of a format in
options, on the command line and in plan.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

Precision = Literal["f32", "fp16", "bf16", "int8", "int4", "fp8", "nvfp4"]
QuantizationMethod = Literal["rtn", "rtn-clip-search", "checkpoint"]
"""rtn: the largest value that shares a scale becomes the largest code, and every value the nearest
code. rtn-clip-search: the same with the best of a few smaller scales for each group. checkpoint:
codes and scales are those of the checkpoint."""
_SMALLEST_HALF = 32
_QUANTIZED = frozenset({"int8", "int4", "fp8", "nvfp4"})


class WeightFormat(BaseModel):
    """The numbers that a matrix is stored as.

    kind: type of a stored number. group_size: most neighbours of a row that share a scale; a row
    that it does not divide has groups of half as many, down to 32. None is one scale for a row of
    int8, one for a whole matrix of fp8, and no scale for other kinds. symmetric: codes have no
    zero point.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Precision
    group_size: int | None = Field(default=None, ge=1)
    symmetric: Literal[True] = True

    def group_of(self, columns: int) -> int | None:
        """Neighbours that share a scale in a row of this length; None if no group divides it."""
        if self.group_size is None:
            return columns
        size = self.group_size
        while columns % size and size % 2 == 0 and size // 2 >= _SMALLEST_HALF:
            size //= 2
        return size if columns % size == 0 else None

    @property
    def smallest_group(self) -> int | None:
        """The number that a row must divide by; None where any row can be stored."""
        size = self.group_size
        while size is not None and size % 2 == 0 and size // 2 >= _SMALLEST_HALF:
            size //= 2
        return size


class StoredWeights(BaseModel):
    """What an engine stores, and how it was found; method: None where nothing is quantized."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: WeightFormat
    method: QuantizationMethod | None = None

    @model_validator(mode="after")
    def _method_of_what_is_quantized(self) -> Self:
        if (self.format.kind in _QUANTIZED) != (self.method is not None):
            raise ValueError(f"weights in {self.format.kind} do not go with method {self.method}")
        return self

    def __str__(self) -> str:
        """As in `int4, groups of up to 128, found by rtn`."""
        kind, group, method = self.format.kind, self.format.group_size, self.method
        groups = "" if group is None else f", groups of up to {group}"
        return f"{kind}{groups}" + ("" if method is None else f", found by {method}")


FORMATS: Mapping[Precision, WeightFormat] = {
    "f32": WeightFormat(kind="f32"),
    "fp16": WeightFormat(kind="fp16"),
    "bf16": WeightFormat(kind="bf16"),
    "int8": WeightFormat(kind="int8"),
    "int4": WeightFormat(kind="int4", group_size=128),
    "fp8": WeightFormat(kind="fp8"),
    "nvfp4": WeightFormat(kind="nvfp4", group_size=16),
}
"""What each short name stands for."""


def stored_weights(
    precision: Precision, method: QuantizationMethod = "rtn", *, group_size: int | None = None
) -> StoredWeights:
    """What the short name of a format stands for; method: of one that is quantized.

    group_size: of the format, where a compiler has smaller groups than the name stands for.
    """
    stored = FORMATS[precision]
    if group_size is not None:
        stored = WeightFormat(kind=precision, group_size=group_size)
    return StoredWeights(format=stored, method=method if precision in _QUANTIZED else None)
