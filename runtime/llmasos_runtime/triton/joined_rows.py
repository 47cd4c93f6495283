"""One response made of several: of the rows of a request, or of the beams of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = dict[str, NDArray[Any]]
_PADDING = {"output_ids": -1}
_INDEX = "sequence_index"


_OF_EACH_BEAM = ("output_ids", "sequence_length", "cum_log_probs", "output_log_probs")
_MORE_OF_EACH_BEAM = ("generation_logits", "finish_reason", "stop_reason")


def joined_rows(responses: Sequence[Values]) -> Values:
    """Outputs by name, one behind the other along their first dimension.

    Where the other dimensions differ, shorter ones are padded with zeros or empty strings, and
    `output_ids` with -1. A response without an output has no row in it.
    """
    return responses[0] if len(responses) == 1 else _joined_all(responses)


def joined_beams(responses: Sequence[Values]) -> list[Values]:
    """One response of the best beams of one row, or none if there is none.

    As in the classic contract: output_ids [1, beams, tokens], sequence_length and cum_log_probs
    [1, beams], output_log_probs [1, beams, tokens], text_output [beams].
    """
    if not responses:
        return []
    joined = {
        name: _of_beams([values[name] for values in responses if name in values], name)
        for name in dict.fromkeys(name for values in responses for name in values)
    }
    joined.pop(_INDEX, None)
    return [joined]


def _of_beams(arrays: Sequence[NDArray[Any]], name: str) -> NDArray[Any]:
    if name in _OF_EACH_BEAM or name in _MORE_OF_EACH_BEAM:
        return _joined(arrays, _PADDING.get(name), axis=1)
    return _joined(arrays, None, axis=0) if name == "text_output" else arrays[-1]


def _joined_all(responses: Sequence[Values]) -> Values:
    names = dict.fromkeys(name for values in responses for name in values)
    return {
        name: _joined(
            [values[name] for values in responses if name in values], _PADDING.get(name), axis=0
        )
        for name in names
    }


def _joined(arrays: Sequence[NDArray[Any]], padding: int | None, *, axis: int) -> NDArray[Any]:
    most = [max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True)]
    filling: Any = b"" if arrays[0].dtype == np.object_ else padding or 0
    return np.concatenate([_padded(array, most, filling, axis) for array in arrays], axis)


def _padded(array: NDArray[Any], most: Sequence[int], filling: Any, axis: int) -> NDArray[Any]:
    shape = [*most[:axis], array.shape[axis], *most[axis + 1 :]]
    whole = np.full(shape, filling, array.dtype)
    whole[tuple(slice(size) for size in array.shape)] = array
    return whole
