"""Quantizes one matrix by the method that was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmasos_builder.compression.formats import QuantizationFormat
from llmasos_builder.compression.gptq import Hessian, gptq
from llmasos_builder.compression.quantize_options import Method
from llmasos_builder.compression.scale_search import plain_grid, searched_grid
from llmasos_builder.compression.stored_matrix import Tensors, e4m3_tensors, tensors_of
from llmasos_builder.graph import Array


def quantized_matrix(
    name: str,
    values: Array,
    stored: QuantizationFormat,
    method: Method,
    *,
    scale_type: Any,
    hessian: Hessian | None,
) -> Tensors:
    """Returns the tensors of a matrix by their whole names. hessian: see `gptq`, which it asks for;
    None rounds to nearest.
    """
    if stored.integers is None:
        parts = e4m3_tensors(values, scale_type)
    else:
        group = stored.integers.group_of(name, values.shape[1])
        find = plain_grid if method in ("rtn", "awq") else searched_grid
        grid = find(values, stored.integers, group, scale_type)
        if hessian is None:
            codes = grid.with_codes(grid.nearest(values), scale_type)
        else:
            codes = gptq(values, hessian, grid, scale_type)
        parts = tensors_of(codes, stored)
    prefix = name.removesuffix("weight")
    return {prefix + part: tensor for part, tensor in parts.items()}


class InputProducts:
    """The outer products of inputs, computed once for matrices that share them."""

    def __init__(self) -> None:
        self._inputs: Array | None = None
        self._found: Hessian = np.empty((0, 0))

    def of(self, inputs: Array) -> Hessian:
        """Returns [in, in] in float64."""
        last = self._inputs
        if last is None or last.ctypes.data != inputs.ctypes.data or last.shape != inputs.shape:
            self._inputs = inputs  # held, so that no other array takes its place in memory
            self._found = (inputs.T @ inputs).astype(np.float64)
        return self._found
