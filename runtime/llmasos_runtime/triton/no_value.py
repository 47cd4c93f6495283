"""What an output holds in a response that has nothing to say in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from llmasos.contract.tensor import DataType, Tensor
from numpy.typing import NDArray

_NUMPY: dict[DataType, Any] = {
    DataType.STRING: np.object_,
    DataType.UINT8: np.uint8,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.FP32: np.float32,
}


def no_value(tensor: Tensor) -> NDArray[Any]:
    """Returns zeros, or no elements if the length is variable; the batch dimension is 1."""
    if tensor.name == "text_output":
        return np.array([b""], np.object_)
    if tensor.type is DataType.STRING:
        return np.array([[b""]], np.object_)
    if tensor.name == "cum_log_probs":
        return np.zeros((1, 1), np.float32)  # of one beam, whether it is asked for or not
    return np.zeros([1, *(max(0, dim) for dim in tensor.dims)], _NUMPY[tensor.type])
