"""What stands behind an encoder's layers, as its task asks: vectors, labels or tokens."""

from __future__ import annotations

from dataclasses import dataclass

from llmasos.engine.plan import Task

from llmasos_builder.graph import Activation, Pooling


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLinear:
    """A linear layer.

    name: of its weight, without `.weight`; None is the token embedding. bias: the whole name of its
    bias; None has none. activation: after it.
    """

    name: str | None
    size: int
    bias: str | None
    activation: Activation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadNorm:
    """A layer norm. name: of its parameters, without `.weight`."""

    name: str
    eps: float
    has_bias: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """pooling: how tokens become one vector of a sequence, several side by side; empty keeps the
    tokens. selects: only the tokens that are asked for are predicted. layers: behind that, in
    order. normalizes: the result has unit length. copies: tensors that a checkpoint may hold twice,
    the copy's name and that of the original.
    """

    task: Task
    pooling: tuple[Pooling, ...] = ()
    selects: bool = False
    layers: tuple[HeadLinear | HeadNorm, ...] = ()
    normalizes: bool = False
    copies: tuple[tuple[str, str], ...] = ()
