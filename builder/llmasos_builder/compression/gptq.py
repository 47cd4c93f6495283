"""GPTQ: rounds a matrix column by column, and lets the columns to come make up for the error.

Source: Frantar et al., arXiv:2210.17323. What is minimized is the squared error of the products
with the inputs, tr(E H E'), H = X'X over a calibration text. The columns with the largest inputs
come first (activation order), while groups stay what they are (static groups), so that no file
needs the order. Then, in turns, each column takes the codes that are best while the others stay
(coordinate descent, as in Behdin et al., arXiv:2309.01885), and scales are fitted to the codes by
least squares, all in the same measure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmasos_builder.compression.integer_codes import Grid, IntegerCodes
from llmasos_builder.compression.scale_search import stored_scale
from llmasos_builder.graph import Array

Hessian = NDArray[np.float64]
_BLOCK = 64
_RIDGE = 1e-6


def gptq(
    values: Array,
    hessian: Hessian,
    grid: Grid,
    scale_type: Any,
    *,
    damping: float = 0.005,
    num_refits: int = 2,
) -> IntegerCodes:
    """Quantizes a matrix [out, in] on a grid that is refined.

    hessian: [in, in], the sum of the inputs' outer products. damping: of its mean diagonal, added
    to the diagonal. num_refits: how often codes and scales are chosen anew.
    """
    damped = hessian.copy()
    unused = np.diag(hessian) == 0
    damped[unused, unused] = 1
    damped[np.diag_indices(len(damped))] += damping * np.mean(np.diag(damped))
    order = np.argsort(-np.diag(damped), kind="stable")
    factor = _inverse_factor(damped[np.ix_(order, order)])
    codes = _round_columns(values, grid, order, factor)
    for _ in range(num_refits):
        codes = _descend(values, codes, grid, damped)
        grid = _refitted(values, damped, grid, codes, scale_type)
    if num_refits:
        codes = _descend(values, codes, grid, damped)
    return grid.with_codes(codes, scale_type)


def _inverse_factor(hessian: Hessian) -> Array:
    """Returns the upper factor U of the inverse, U'U."""
    inverse = np.linalg.inv(hessian)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float32)


def _round_columns(values: Array, grid: Grid, order: Any, factor: Array) -> Array:
    """Returns codes as float32 [out, in]."""
    rows, columns = values.shape
    left = np.ascontiguousarray(values[:, order].T)  # [in, out]: a column is contiguous
    scales, zeros = (np.ascontiguousarray(x[:, order].T) for x in grid.of_columns(columns))
    codes = np.empty_like(left)
    least, largest = grid.format.least, grid.format.largest
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = np.empty((stop - start, rows), np.float32)
        for column in range(start, stop):
            scale, zero = scales[column], zeros[column]
            code = (np.rint(left[column] / scale) + zero).clip(least, largest)
            codes[column] = code
            error = (left[column] - (code - zero) * scale) / factor[column, column]
            errors[column - start] = error
            left[column + 1 : stop] -= factor[column, column + 1 : stop, None] * error
        left[stop:] -= factor[start:stop, stop:].T @ errors
    stored = np.empty_like(values)
    stored[:, order] = codes.T
    return stored


def _levels(codes: Array, grid: Grid) -> Array:
    return codes - grid.of_columns(codes.shape[1])[1]


def _descend(values: Array, codes: Array, grid: Grid, hessian: Hessian) -> Array:
    """Returns codes after going through the columns again, each of which takes the codes that are
    best while all others stay.
    """
    rows, columns = values.shape
    scales, zeros = (np.ascontiguousarray(x.T) for x in grid.of_columns(columns))
    levels = np.ascontiguousarray(codes.T) - zeros  # [in, out]
    measure = hessian.astype(np.float32)
    lowest, highest = grid.format.least - zeros, grid.format.largest - zeros
    pull = measure @ (values.T - levels * scales)  # minus half the gradient by the values
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        changes = np.zeros((stop - start, rows), np.float32)
        for column in range(start, stop):
            scale = scales[column]
            ideal = levels[column] + pull[column] / (measure[column, column] * scale)
            best = np.rint(ideal).clip(lowest[column], highest[column])
            change = (levels[column] - best) * scale
            levels[column], changes[column - start] = best, change
            pull[start:stop] += measure[start:stop, column, None] * change
        pull[:start] += measure[:start, start:stop] @ changes
        pull[stop:] += measure[stop:, start:stop] @ changes
    stored: Array = (levels + zeros).T
    return np.ascontiguousarray(stored)


def _refitted(values: Array, hessian: Hessian, grid: Grid, codes: Array, scale_type: Any) -> Grid:
    """Returns the grid whose scales fit the codes best: of each row, a least-squares problem of as
    many unknowns as it has groups.
    """
    rows, groups = grid.scales.shape
    levels = _levels(codes, grid).astype(np.float64).reshape(rows, groups, -1)
    group = levels.shape[2]
    products = (values.astype(np.float64) @ hessian).reshape(rows, groups, group)
    right = (products * levels).sum(axis=2)
    left = np.empty((rows, groups, groups))
    for index in range(groups):
        part = levels[:, index] @ hessian[index * group : (index + 1) * group]
        left[:, index] = (part.reshape(rows, groups, group) * levels).sum(axis=2)
    diagonal = np.arange(groups)
    # A group of zeros has no scale to find; the ridge keeps the others' nearly as they are.
    ridge = _RIDGE * np.trace(left, axis1=1, axis2=2) / groups + 1e-30
    left[:, diagonal, diagonal] += ridge[:, None]
    right += ridge[:, None] * grid.scales
    solved = np.linalg.solve(left, right[..., None])[..., 0].astype(np.float32)
    return replace(grid, scales=stored_scale(solved, scale_type))
