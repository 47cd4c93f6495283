"""The options of `llmasos quantize`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from llmasos.errors import InvalidRequestError

from llmasos_builder.compression.calibration import CalibrationOptions
from llmasos_builder.compression.formats import QuantizationFormat

Method = Literal["rtn", "mse", "awq", "gptq", "awq+gptq"]
_MIXED_BITS, _MOST_BITS = 4, 8
METHODS: tuple[Method, ...] = ("rtn", "mse", "awq", "gptq", "awq+gptq")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """format: of the layers' matrices. method: rtn rounds each value to the nearest code; mse does
    on the grid with the least squared error; awq scales columns for their inputs first, and rounds
    as rtn; gptq lets later columns make up for the error that earlier ones make over the
    calibration text; awq+gptq does both. ignore: patterns of modules that stay as they are.
    bits_budget: bits of a weight on average, scales included, up to which matrices of W4A16 get 8
    bits instead; None gives none of them 8 bits.
    """

    format: QuantizationFormat
    method: Method = "gptq"
    ignore: tuple[str, ...] = ()
    bits_budget: float | None = None
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)

    def __post_init__(self) -> None:
        if self.format.integers is None and self.method != "rtn":
            raise InvalidRequestError(
                f"method {self.method} is for integers, and format is {self.format.name}",
                hint="choose rtn",
            )
        integers = self.format.integers
        budget = self.bits_budget
        if budget is not None and not _MIXED_BITS <= budget <= _MOST_BITS:
            raise InvalidRequestError(
                f"bits-budget is {budget:g}, must be from {_MIXED_BITS} to {_MOST_BITS}"
            )
        if budget is not None and (integers is None or integers.bits != _MIXED_BITS):
            raise InvalidRequestError(f"bits-budget is for W4A16, and format is {self.format.name}")

    @property
    def uses_awq(self) -> bool:
        """Whether columns are scaled for their inputs."""
        return self.method.startswith("awq")

    @property
    def uses_gptq(self) -> bool:
        """Whether later columns make up for earlier ones."""
        return self.method.endswith("gptq")


def as_method(name: str) -> Method:
    """Returns a method by its name. Raises InvalidRequestError."""
    for method in METHODS:
        if method == name:
            return method
    raise InvalidRequestError(f"method must be one of {', '.join(METHODS)}, got {name!r}")
