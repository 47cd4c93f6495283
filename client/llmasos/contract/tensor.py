"""One tensor of the contract: its name, its form, and how far it is supported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from llmasos.errors import UnsupportedFieldError
from llmasos.sampling_parameter import TensorType

Scalar = str | int | float | bool
_SHOWN = 60


class DataType(Enum):
    """Triton's data types, by the name that config.pbtxt gives them."""

    STRING = "TYPE_STRING"
    BOOL = "TYPE_BOOL"
    UINT8 = "TYPE_UINT8"
    INT32 = "TYPE_INT32"
    INT64 = "TYPE_INT64"
    UINT64 = "TYPE_UINT64"
    FP16 = "TYPE_FP16"
    FP32 = "TYPE_FP32"

    @classmethod
    def of(cls, name: TensorType) -> DataType:
        """The type of this name in the table of sampling parameters."""
        return cls[name]


class Support(Enum):
    """CORE: classic and supported. EXTRA: ours, optional. NEUTRAL_ONLY: classic, declared,
    accepted with a value that asks for nothing. INTERNAL: between our own models."""

    CORE = "core"
    EXTRA = "extra"
    NEUTRAL_ONLY = "neutral only"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of a model.

    dims: without the batch dimension; -1 is any length.
    scalar: reshaped to no dimension behind the batch.
    needed: the models refuse a request without it, by name. It is optional to Triton, which
        runs no model that lacks a required input, and over HTTP answers with nothing at all.
    ragged: requests with other lengths may share a batch.
    neutral: the values that ask for nothing, for NEUTRAL_ONLY; a tensor without elements
        always asks for nothing.
    model, target: the step of the ensemble that takes this input or makes this output, and
        its name there; the ensemble's tensors alone have them.
    """

    name: str
    type: DataType
    dims: tuple[int, ...] = (1,)
    optional: bool = False
    needed: bool = False
    scalar: bool = False
    ragged: bool = False
    support: Support = Support.CORE
    neutral: tuple[Scalar, ...] = ()
    model: str = ""
    target: str = ""

    def __post_init__(self) -> None:
        assert not self.neutral or self.support is Support.NEUTRAL_ONLY, self.name
        assert not self.scalar or self.dims == (1,), self.name
        assert not self.needed or self.optional, self.name

    def refuse_unless_neutral(self, values: Iterable[Scalar]) -> None:
        """Raises UnsupportedFieldError, naming field, value and what is accepted."""
        for value in values:
            if value not in self.neutral:
                raise UnsupportedFieldError(
                    f"{self.name} is not supported yet: got {_short(value)}, {self._accepted()}"
                )

    def _accepted(self) -> str:
        if not self.neutral:
            return "leave it out or send it empty"
        return f"leave it out or send {' or '.join(_short(value) for value in self.neutral)}"


def _short(value: Scalar) -> str:
    if isinstance(value, str):
        value = value[: _SHOWN + 1]  # the rest would not be shown, and may be long
    if isinstance(value, float):
        value = float(f"{value:.7g}")  # 1.2, as the client wrote it, and not FP32's nearest
    text = repr(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
