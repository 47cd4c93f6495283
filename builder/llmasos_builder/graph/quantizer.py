"""The one quantizer of int8 and int4 rows: values in, codes and scales out.

Every compiler takes its codes from here and packs them for its kernels, so that a matrix is
quantized the same way everywhere. Codes that a checkpoint brings along become `QuantizedRows`
directly, which every packer accepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.engine.weight_format import Precision, QuantizationMethod, WeightFormat
from numpy.typing import NDArray

Array = NDArray[np.float32]
_BLOCK_ELEMENTS = 1 << 22  # bounds the memory that quantizing takes
_CODES: Mapping[Precision, tuple[int, int]] = {"int8": (-127, 127), "int4": (-8, 7)}
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Fractions of a group's extreme value that are tried as the end of its range."""
_WHOLE = 1e-5
"""The relative error up to which a quotient counts as a whole number."""
_SAMPLED_ROWS = 8
CPU_METHODS: Mapping[Precision, QuantizationMethod] = {"int8": "rtn", "int4": "rtn-clip-search"}
"""Quantization methods of engines that run on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedRows:
    """A matrix [out, in] as codes and scales; a value is its code times its scale.

    codes: int8 [out, groups, group], also if format.kind is int4. scales: [out, groups, 1], in the
    type that they are stored in.
    """

    format: WeightFormat
    codes: NDArray[np.int8]
    scales: NDArray[Any]

    def __post_init__(self) -> None:
        least, most = _CODES[self.format.kind]
        out, groups, group = self.codes.shape
        assert self.codes.dtype == np.int8, self.codes.dtype
        assert self.scales.shape == (out, groups, 1), self.scales.shape
        assert self.format.group_of(groups * group) == group, f"groups of {group}"
        assert self.codes.size == 0 or least <= self.codes.min() <= self.codes.max() <= most

    @property
    def shape(self) -> tuple[int, int]:
        out, groups, group = self.codes.shape
        return out, groups * group

    def values(self) -> Array:
        """Returns the dequantized matrix in f32."""
        products: Any = self.codes * self.scales.astype(np.float32, copy=False)
        values: Array = products.reshape(self.shape)
        return values


def quantize_rows(
    values: Array,
    weight_format: WeightFormat,
    *,
    method: QuantizationMethod = "rtn",
    scale_type: Any = np.float32,
) -> QuantizedRows:
    """Quantizes a matrix [out, in] to int8 or int4, each row by itself.

    Groups of an int4 matrix that are codes times a scale already keep these. A group of the format
    must divide the rows. scale_type: type that scales are stored in.
    """
    rows, columns = values.shape
    group = weight_format.group_of(columns)
    assert group is not None, f"no group of {weight_format} divides {columns} columns"
    codes = np.empty((rows, columns // group, group), np.int8)
    scales = np.empty((rows, columns // group, 1), scale_type)
    find = {"rtn": _nearest, "rtn-clip-search": _clip_search}[method]
    given = weight_format.kind == "int4" and _may_be_given(values, weight_format, group)
    for part in row_blocks(values.shape):
        block = values[part].reshape(-1, columns // group, group)
        find(block, codes[part], scales[part], weight_format)
        if given:
            _keep_given(block, codes[part], scales[part], weight_format)
    return QuantizedRows(format=weight_format, codes=codes, scales=scales)


def _keep_given(
    block: Array, codes: NDArray[np.int8], scales: NDArray[Any], weight_format: WeightFormat
) -> None:
    """Gives groups whose values are whole multiples of one number that multiple as their scale.

    So are matrices that a checkpoint holds as codes: what GPTQ and others have chosen stays, to the
    bit where scales have 16 bits. Which code a group's furthest value has is not known, so that
    each is tried; the first that makes all values whole is taken, and the values are the same with
    any other.
    """
    least_code, largest_code = _CODES[weight_format.kind]
    furthest = np.take_along_axis(block, np.abs(block).argmax(axis=2)[..., None], axis=2)
    left = furthest[..., 0] != 0
    for code in (least_code, *range(largest_code, 0, -1)):
        groups = np.nonzero(left)
        if not groups[0].size:
            return
        ideal = furthest[groups] / np.float32(code)
        scale = ideal.astype(scales.dtype)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            quotients = block[groups] / scale.astype(np.float32)
            whole = np.rint(quotients)
            fits = (np.abs(quotients - whole) <= _WHOLE * np.abs(whole)).all(axis=1)
        fits &= (whole >= least_code).all(axis=1) & (whole <= largest_code).all(axis=1)
        kept = tuple(index[fits] for index in groups)
        codes[kept], scales[kept] = whole[fits].astype(np.int8), scale[fits]
        left[kept] = False


def _may_be_given(values: Array, weight_format: WeightFormat, group: int) -> bool:
    """Whether a few rows have a group that `_keep_given` keeps; most matrices are not looked at."""
    rows = values[:: max(1, len(values) // _SAMPLED_ROWS)].reshape(
        -1, values.shape[1] // group, group
    )
    codes = np.zeros(rows.shape, np.int8)
    scales = np.zeros((*rows.shape[:2], 1), np.float32)
    _keep_given(rows, codes, scales, weight_format)
    return bool(scales.any())


def scale_of(largest: NDArray[Any], code: float, dtype: Any) -> NDArray[Any]:
    """Returns the smallest scale of this type with which no value up to `largest` exceeds the code.

    It is rounded up to the type before values are divided by it, so that rounding a scale neither
    adds an error nor pushes a value out of range.
    """
    ideal = np.asarray(largest / np.float32(code))
    rounded = ideal.astype(dtype)
    up: NDArray[Any] = np.nextafter(rounded, np.array(np.inf, dtype))
    scale: NDArray[Any] = np.where(rounded.astype(np.float32) < ideal, up, rounded)
    return np.where(scale == 0, np.array(1, dtype), scale)


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yields blocks of neighbouring rows of a matrix that are processed together."""
    step = max(1, _BLOCK_ELEMENTS // max(1, shape[1]))
    for start in range(0, shape[0], step):
        yield slice(start, start + step)


def _nearest(
    block: Array, codes: NDArray[np.int8], scales: NDArray[Any], weight_format: WeightFormat
) -> None:
    _, largest = _CODES[weight_format.kind]
    scales[:] = scale_of(np.abs(block).max(axis=2, keepdims=True), largest, scales.dtype)
    quotients = np.rint(block / scales.astype(np.float32))
    # A scale too small for float32's full precision can leave a quotient above the range.
    codes[:] = quotients.clip(-largest, largest)


def _clip_search(
    block: Array, codes: NDArray[np.int8], scales: NDArray[Any], weight_format: WeightFormat
) -> None:
    """The value of a group that is furthest from zero, or a little less, becomes the least code (so
    that a scale may be negative). Of a few such scales each group takes the one with the least sum
    of squared errors, each weighted by its value's size, and the largest of equals. With unweighted
    errors, large values are sacrificed for the many small ones, and perplexity is worse than
    without a search.
    """
    least_code, largest_code = _CODES[weight_format.kind]
    sizes = np.abs(block)
    least = np.full(scales.shape, np.inf, np.float32)
    for scale in _clipped_scales(block, least_code, scales.dtype):
        candidate = np.rint(block / scale).clip(least_code, largest_code)
        error = np.square(candidate * scale - block) * sizes
        error = error.sum(axis=2, keepdims=True)
        better = error < least
        np.copyto(least, error, where=better)
        np.copyto(scales, scale, where=better)
        np.copyto(codes, candidate, where=better, casting="unsafe")


def _clipped_scales(groups: Array, least_code: int, dtype: np.dtype[Any]) -> Iterator[Array]:
    """Yields scales in f32 that are exact in the type that they are stored in."""
    furthest = np.abs(groups).argmax(axis=2)[..., None]
    extreme = np.take_along_axis(groups, furthest, axis=2)
    for shrink in _SHRINKS:
        scale = (extreme * np.float32(shrink / least_code)).astype(dtype).astype(np.float32)
        scale[scale == 0] = 1
        yield scale
