"""Weights quantized to fp8 by compressed-tensors, NVIDIA's ModelOpt or AutoFP8.

A matrix is stored in e4m3 beside `<name>_scale`, its factor: one number, or one for each output.
`input_scale` is one number by which the matrix's inputs are divided before they are rounded to
e4m3 too. Scales of KV caches are ignored: keys and values are kept in the compute type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

from llmasos_builder.checkpoint.huggingface.safetensors_weights import FP8
from llmasos_builder.checkpoint.weights import Weights

_KV_CACHE_SCALE = re.compile(r".*\.(?:[kv]|kv|q|prob|output)_scale")
_METHODS = ("compressed-tensors", "fp8", "modelopt")
_FORMATS = ("float-quantized", "naive-quantized")
_NEEDED = "e4m3 with one scale for each matrix or output"


class StoredWeights(Weights, Protocol):
    """Weights that report the stored type of each tensor."""

    def stored_type(self, name: str) -> str:
        """Returns the type by its name in safetensors."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp8Scales:
    """Scales of a matrix with one scale; activation: the scale of its inputs, if any."""

    weight: float
    activation: float | None


class Fp8Weights:
    """Weights multiplied by their scales; tensors that are not in fp8 stay unchanged.

    scales: those of each matrix with one scale, by its name.
    """

    def __init__(self, stored: StoredWeights) -> None:
        """Raises CheckpointError for a tensor in fp8 without a scale of a known shape."""
        self._stored = stored
        names = stored.names()
        matrices = sorted(name for name in names if stored.stored_type(name) == FP8)
        used = {f"{name}_scale" for name in matrices} | {_input_scale(name) for name in matrices}
        self._names = frozenset(
            name for name in names - used if _KV_CACHE_SCALE.fullmatch(name) is None
        )
        for name in matrices:
            self._check(name)
        self._matrices = frozenset(matrices)
        self.scales: Mapping[str, Fp8Scales] = {
            name: self._read(name)
            for name in matrices
            if math.prod(stored.shape(f"{name}_scale")) == 1
        }

    @property
    def has_matrices(self) -> bool:
        return bool(self._matrices)

    def names(self) -> frozenset[str]:
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored.shape(self._own(name))

    def load(self, name: str) -> NDArray[np.float32]:
        values = self._stored.load(self._own(name))
        if name in self._matrices:
            scales = self._stored.load(f"{name}_scale")
            values *= scales.reshape((-1, 1) if scales.size > 1 else ())
        return values

    def _own(self, name: str) -> str:
        if name not in self._names:
            raise CheckpointError(f"the checkpoint has no tensor {name}")
        return name

    def _check(self, name: str) -> None:
        shape, scale = self._stored.shape(name), f"{name}_scale"
        if scale not in self._stored.names():
            raise CheckpointError(f"tensor {name} is in fp8, and there is no {scale}")
        found = self._stored.shape(scale)
        if len(shape) != 2 or found not in ((), (1,), (1, 1), shape[:1], (shape[0], 1)):
            raise CheckpointError(
                f"tensor {scale} has the shape {list(found)} for {list(shape)}; what is read is "
                f"{_NEEDED}"
            )

    def _read(self, name: str) -> Fp8Scales:
        activation = _input_scale(name)
        given = activation in self._stored.names()
        return Fp8Scales(
            weight=self._scale(f"{name}_scale"),
            activation=self._scale(activation) if given else None,
        )

    def _scale(self, name: str) -> float:
        is_one = math.prod(self._stored.shape(name)) == 1
        values = self._stored.load(name) if is_one else np.zeros(1, np.float32)
        if not (np.isfinite(values).all() and values.min() > 0):
            raise CheckpointError(f"tensor {name} must be one positive number")
        return float(values.reshape(()))


def fp8_scales_of(weights: Weights) -> Mapping[str, Fp8Scales]:
    """Returns the scales of each fp8 matrix that has one scale, by its name."""
    return weights.scales if isinstance(weights, Fp8Weights) else {}


def is_in_fp8(weights: Weights) -> bool:
    """True if a checkpoint has fp8 matrices."""
    return isinstance(weights, Fp8Weights) and weights.has_matrices


def _input_scale(name: str) -> str:
    return f"{name.removesuffix('.weight')}.input_scale"


def is_fp8(config: Mapping[str, Any], path: str) -> bool:
    """True if the config.json or hf_quant_config.json at this path says that weights are in fp8.

    Raises CheckpointError for any other quantization, by its name.
    """
    quantization = config.get("quantization_config") or config.get("quantization")
    if not quantization:
        return False
    found = _kind(quantization) if isinstance(quantization, dict) else str(quantization)
    if found is not None:
        raise CheckpointError(
            f"{path}: the checkpoint is quantized already ({found}), which is not read",
            hint=f"use the original in float32, float16 or bfloat16, or {_NEEDED}",
        )
    return True


def _kind(quantization: Mapping[str, Any]) -> str | None:
    """Returns the name of an unsupported quantization; None if it is supported."""
    method = quantization.get("quant_method", "modelopt" if "quant_algo" in quantization else None)
    if method not in _METHODS:
        return str(method or dict(quantization))
    if quantization.get("weight_block_size") is not None:
        return f"{method} in blocks of {quantization['weight_block_size']}"
    algorithm = quantization.get("quant_algo", "FP8")
    if algorithm not in ("FP8", "FP8_PER_CHANNEL_PER_TOKEN"):
        return f"{method} {algorithm}"
    if method == "compressed-tensors" and quantization.get("format") not in _FORMATS:
        return f"{method} {quantization.get('format')}"
    return None
