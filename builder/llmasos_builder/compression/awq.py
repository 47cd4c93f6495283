"""AWQ: scales the inputs that matter most up before a matrix is rounded, and folds the inverse.

Source: Lin et al., arXiv:2306.00978. A matrix's columns are multiplied by s, and what computes its
inputs divides by it, so that the network stays what it is while the columns of large inputs lose
less. s is a power of each input's mean size; of a grid of exponents, the one is taken with the
least squared error of the products over the calibration text. The first exponent is 0, which
changes nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_builder.architectures.network import Network
from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import ChangedWeights, Weights
from llmasos_builder.compression.fold_sites import FoldSite
from llmasos_builder.compression.integer_codes import IntegerFormat
from llmasos_builder.compression.scale_search import plain_grid
from llmasos_builder.compression.streaming import stream
from llmasos_builder.graph import Array

_EXPONENTS = np.linspace(0, 0.9, 10)


def activation_aware(
    network: Network,
    weights: Weights,
    windows: NDArray[np.int64],
    sites: list[FoldSite],
    stored: IntegerFormat,
    *,
    scale_type: Any,
    progress: Progress,
) -> ChangedWeights:
    """Returns the weights of the same network, scaled for rounding.

    windows: token ids [N, S]. scale_type: what norms are stored in; their factors are such that a
    norm's weight is exact in it. Raises CheckpointError for activations that are not finite.
    """
    rows: dict[str, Array] = {}
    columns: dict[str, Array] = {}
    first = {site.matrices[0]: site for site in sites}
    done = 0

    def observe(name: str, inputs: Array, weight: Array) -> Array:
        nonlocal done
        site = first.get(name)
        if site is not None:
            progress("search scales", done, len(sites))
            done += 1
            matrices = [load_tensor(weights, matrix) for matrix in site.matrices]
            factors = best_factors(inputs, matrices, stored)
            if site.is_norm:
                norm = load_tensor(weights, site.sources[0])
                factors = _exact_factors(norm, factors, scale_type)
            columns.update(dict.fromkeys(site.matrices, factors))
            rows.update(dict.fromkeys(site.sources, 1 / factors))
        return weight

    stream(network, weights, windows, observe, relative=True)
    progress("search scales", len(sites), len(sites))
    changes = {
        name: partial(_scaled, rows=rows.get(name), columns=columns.get(name))
        for name in rows.keys() | columns.keys()
    }
    return ChangedWeights(weights, changes)


def _scaled(values: Array, *, rows: Array | None, columns: Array | None) -> Array:
    if columns is not None:
        values = values * columns
    if rows is not None:
        values = values * rows.reshape(-1, *[1] * (values.ndim - 1))
    return values


def best_factors(inputs: Array, matrices: list[Array], stored: IntegerFormat) -> Array:
    """Returns the factor of each column, for matrices [out, in] with the inputs [tokens, in]."""
    sizes = np.abs(inputs).mean(axis=0)
    sizes = np.maximum(sizes, sizes.max() * np.float32(1e-4) + np.float32(1e-12))
    products = inputs.T @ inputs
    best: Array = np.ones_like(sizes)
    least = np.inf
    for exponent in _EXPONENTS:
        factors = sizes ** np.float32(exponent)
        factors /= np.sqrt(factors.max() * factors.min())
        error = sum(_error(matrix, factors, products, stored) for matrix in matrices)
        if error < least:
            best, least = factors, error
    return best


def _error(matrix: Array, factors: Array, products: Array, stored: IntegerFormat) -> float:
    scaled = matrix * factors
    grid = plain_grid(scaled, stored, stored.group_size or matrix.shape[1])
    lost = grid.with_codes(grid.nearest(scaled), np.float16).values() / factors - matrix
    return float(np.vdot(lost @ products, lost))


def _exact_factors(norm: Array, factors: Array, scale_type: Any) -> Array:
    """Returns factors close to these, by which a norm's weight is exact when it is stored."""
    kept = (norm / factors).astype(scale_type).astype(np.float32)
    usable = (kept != 0) & np.isfinite(kept)
    return np.divide(norm, kept, out=np.ones_like(factors), where=usable)
