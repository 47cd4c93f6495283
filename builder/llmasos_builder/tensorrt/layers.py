"""TensorRT's layers as functions from tensors to a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmasos_builder.tensorrt.constants import Constants


class Layers:
    """Adds layers to one network; every method returns a tensor, or fails if a layer is refused."""

    def __init__(self, library: Any, definition: Any, constants: Constants) -> None:
        self.library = library
        self.definition = definition
        self.constants = constants

    def cast(self, x: Any, dtype: Any) -> Any:
        return x if x.dtype == dtype else self._output(self.definition.add_cast(x, dtype))

    def add(self, a: Any, b: Any) -> Any:
        return self._elementwise("SUM", a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        return self._elementwise("PROD", a, b)

    def subtract(self, a: Any, b: Any) -> Any:
        return self._elementwise("SUB", a, b)

    def divide(self, a: Any, b: Any) -> Any:
        return self._elementwise("DIV", a, b)

    def less(self, a: Any, b: Any) -> Any:
        return self._elementwise("LESS", a, b)

    def both(self, a: Any, b: Any) -> Any:
        return self._elementwise("AND", a, b)

    def select(self, condition: Any, when_true: Any, when_false: Any) -> Any:
        return self._output(self.definition.add_select(condition, when_true, when_false))

    def unary(self, x: Any, operation: str) -> Any:
        kind = getattr(self.library.UnaryOperation, operation)
        return self._output(self.definition.add_unary(x, kind))

    def activation(self, x: Any, kind: str) -> Any:
        layer = self.definition.add_activation(x, getattr(self.library.ActivationType, kind))
        return self._output(layer)

    def softmax_last(self, x: Any) -> Any:
        layer = self.definition.add_softmax(x)
        layer.axes = last_axis(x)
        return self._output(layer)

    def soft_cap(self, x: Any, cap: float) -> Any:
        """cap * tanh(x / cap), computed in f32; returns x's type."""
        low, high = (
            self.constants.scalar(c, rank=len(x.shape), exact=True) for c in (1 / cap, cap)
        )
        exact = self.multiply(self.cast(x, self.library.float32), low)
        return self.cast(self.multiply(self.activation(exact, "TANH"), high), x.dtype)

    def reduce_last(self, x: Any, operation: str) -> Any:
        """Reduces along the last axis, which stays, with size 1."""
        kind = getattr(self.library.ReduceOperation, operation)
        return self._output(self.definition.add_reduce(x, kind, last_axis(x), True))

    def gather(self, x: Any, indices: Any) -> Any:
        """Gathers along the first axis."""
        return self._output(self.definition.add_gather(x, indices, 0))

    def matmul_transposed(self, x: Any, matrix: Any) -> Any:
        """x [..., in] @ matrix [out, in].T."""
        operation = self.library.MatrixOperation
        return self._output(
            self.definition.add_matrix_multiply(x, operation.NONE, matrix, operation.TRANSPOSE)
        )

    def matmul(self, x: Any, matrix: Any) -> Any:
        """x [..., in] @ matrix [..., in, out]."""
        none = self.library.MatrixOperation.NONE
        return self._output(self.definition.add_matrix_multiply(x, none, matrix, none))

    def concat(self, parts: Sequence[Any], *, axis: int) -> Any:
        layer = self.definition.add_concatenation(list(parts))
        layer.axis = axis
        return self._output(layer)

    def shape(self, x: Any) -> Any:
        """A vector in int64."""
        return self._output(self.definition.add_shape(x))

    def unsqueeze(self, x: Any, *axes: int) -> Any:
        return self._output(self.definition.add_unsqueeze(x, self.constants.int64(*axes)))

    def reshape(
        self,
        x: Any,
        shape: Sequence[int] | Any,
        *,
        before: Sequence[int] = (),
        after: Sequence[int] = (),
    ) -> Any:
        """shape: sizes with at most one -1, or a tensor; before, after: transpositions."""
        layer = self.definition.add_shuffle(x)
        if before:
            layer.first_transpose = self.library.Permutation(before)
        if isinstance(shape, Sequence):
            layer.reshape_dims = tuple(shape)
        else:
            layer.set_input(1, shape)
        if after:
            layer.second_transpose = self.library.Permutation(after)
        return self._output(layer)

    def columns(self, x: Any, start: int, width: int) -> Any:
        """x [rows, start : start + width]."""
        layer = self.definition.add_slice(x, (0, start), (1, width), (1, 1))
        rows = self.gather(self.shape(x), self.constants.int64(0))
        layer.set_input(2, self.concat([rows, self.constants.int64(width)], axis=0))
        return self._output(layer)

    def dequantize(
        self,
        x: Any,
        scale: Any,
        dtype: Any,
        *,
        axis: int | None = None,
        block: tuple[int, ...] | None = None,
    ) -> Any:
        """x * scale in a type; block: the shape that shares a scale, axis: the axis with one
        scale each.
        """
        layer = self.definition.add_dequantize(x, scale, dtype)
        if axis is not None:
            layer.axis = axis
        if block is not None:
            layer.block_shape = block
        return self._output(layer)

    def rounded_to_fp8(self, x: Any, scale: float) -> Any:
        """Divides x by a scale, rounds it to e4m3 within its range, and multiplies it again."""
        factor = self.constants.scalar(scale, rank=0, exact=True)
        layer = self.definition.add_quantize(x, factor, self.library.fp8)
        return self.dequantize(self._output(layer), factor, x.dtype)

    def layer_norm(self, x: Any, scale: Any, bias: Any, *, eps: float) -> Any:
        layer = self.definition.add_normalization_v2(x, scale, bias, last_axis(x))
        layer.epsilon = eps
        return self._output(layer)

    def _elementwise(self, operation: str, a: Any, b: Any) -> Any:
        kind = getattr(self.library.ElementWiseOperation, operation)
        return self._output(self.definition.add_elementwise(a, b, kind))

    @staticmethod
    def _output(layer: Any) -> Any:
        assert layer is not None, "TensorRT refuses a layer"
        return layer.get_output(0)


def last_axis(x: Any) -> int:
    """Returns the last axis as a bit mask, as TensorRT takes axes."""
    return 1 << (len(x.shape) - 1)
