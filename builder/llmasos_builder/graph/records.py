"""What is recorded of a definition: its tensors, weights and operations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmasos.engine.plan import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTensor:
    """width: of the last axis; num_heads: None for a wide tensor."""

    index: int
    width: int
    num_heads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedWeight:
    """A weight by its name."""

    name: str
    shape: tuple[int, ...]
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call, with everything it was given and made."""

    kind: str
    inputs: tuple[RecordedTensor, ...] = ()
    outputs: tuple[RecordedTensor, ...] = ()
    weights: tuple[RecordedWeight, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
