"""Networks of a few layers, written by hand on TensorRT's own interface."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llmasos.tensorrt_log import shared_log
from llmasos_builder.tensorrt.constants import Constants
from llmasos_builder.tensorrt.interpreter import interpret
from llmasos_builder.tensorrt.options import ComputeType
from numpy.typing import ArrayLike, NDArray

trt: Any = pytest.importorskip("tensorrt_rtx")
Array = NDArray[Any]

_TYPES = {"float32": trt.float32, "int32": trt.int32, "int64": trt.int64, "bool": trt.bool}


class HandMade:
    """A network that grows layer by layer; inputs are given with the values they will have."""

    def __init__(self, compute_type: ComputeType = "f32") -> None:
        self._builder = trt.Builder(shared_log(trt))
        flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.definition = self._builder.create_network(flag)
        self.constants = Constants(trt, self.definition, compute_type)
        self.feeds: dict[str, Array] = {}

    def input(self, values: Any, dtype: Any = None, *, shape: tuple[int, ...] | None = None) -> Any:
        """dtype: of the tensor, else as numpy has it; shape: with -1 where it shall be open."""
        array = np.asarray(values)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"input.{len(self.feeds)}"
        self.feeds[name] = array
        dtype = _TYPES[str(array.dtype)] if dtype is None else dtype
        return self.definition.add_input(name, dtype, array.shape if shape is None else shape)

    def output(self, *tensors: Any) -> None:
        for tensor in tensors:
            self.definition.mark_output(tensor)

    def run(self, *tensors: Any, rounding: bool = True) -> list[Array]:
        """The values of these tensors, which become outputs."""
        self.output(*tensors)
        outputs = interpret(self.definition, self.feeds, self.constants.by_name, rounding=rounding)
        return [outputs[tensor.name] for tensor in tensors]


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def float32(values: Any) -> Array:
    return np.array(values, np.float32)


def int32(values: ArrayLike) -> Array:
    return np.array(values, np.int32)


def int8(values: ArrayLike) -> Array:
    return np.array(values, np.int8)


def close(actual: Any, expected: Any, *, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
