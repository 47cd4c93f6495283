"""What can be chosen about a distillation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from llmasos.errors import InvalidRequestError

from llmasos_builder.compression.calibration import CalibrationOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions:
    """calibration: the text, cut into windows. steps: optimizer steps, of batch_size windows each.

    accumulation: parts that the windows of a step are computed in, one after the other.
    learning_rate: the highest one, after `warmup` steps; a cosine leads from there to zero.
    top_k: logits of the teacher that are kept for each token; all others count as one.
    hidden_weight: what the distance of hidden states counts beside the divergence of logits.
    held_out: windows that are not trained on. They are measured each evaluate_every steps, and
    training ends when that did not improve `patience` times.
    precision: "bf16" multiplies matrices in bfloat16; weights and the optimizer stay in float32.

    Raises InvalidRequestError, naming the option and its limit.
    """

    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    steps: int = 200
    batch_size: int = 8
    accumulation: int = 1
    learning_rate: float = 2e-4
    warmup: int = 10
    weight_decay: float = 0.01
    temperature: float = 1.0
    top_k: int = 64
    hidden_weight: float = 0.0
    held_out: int = 8
    evaluate_every: int = 20
    patience: int = 5
    seed: int = 0
    precision: Literal["f32", "bf16"] = "f32"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "top_k", "held_out", "patience"):
            self._at_least(name, 1)
        for name in ("warmup", "seed"):
            self._at_least(name, 0)
        self._at_least("evaluate_every", 1)
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise InvalidRequestError(f"{_option(name)} is {value}, must be above 0")
        for name in ("hidden_weight", "weight_decay"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise InvalidRequestError(f"{_option(name)} is {value}, must be at least 0")
        if self.batch_size % self.accumulation:
            raise InvalidRequestError(
                f"accumulation is {self.accumulation}, must divide the batch-size "
                f"({self.batch_size})"
            )
        if self.precision not in ("f32", "bf16"):
            raise InvalidRequestError(f"precision is {self.precision}, must be f32 or bf16")
        if self.calibration.samples < self.held_out + self.batch_size:
            raise InvalidRequestError(
                f"samples is {self.calibration.samples}, must be at least "
                f"{self.held_out + self.batch_size}: held-out and batch-size together"
            )

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value < least:
            raise InvalidRequestError(f"{_option(name)} is {value}, must be at least {least}")

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of a step from 0 on: linear warmup, then half a cosine."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        part = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (1 + math.cos(math.pi * part)) / 2


def _option(name: str) -> str:
    return name.replace("_", "-")
