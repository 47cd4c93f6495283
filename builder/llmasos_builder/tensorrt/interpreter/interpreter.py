"""Computes a TensorRT network without TensorRT, a GPU, or an engine.

It computes the network as the library returns it, layer by layer, with every tensor rounded to
its declared type. Nothing here knows how the network was made, so a mistake of the compiler
cannot repeat itself here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from llmasos_builder.tensorrt.interpreter.collective import (
    COLLECTIVE,
    Exchange,
    Running,
    run_together,
)
from llmasos_builder.tensorrt.interpreter.constants import Constants, read_constant
from llmasos_builder.tensorrt.interpreter.errors import InterpretationError
from llmasos_builder.tensorrt.interpreter.layer import Layer, LayerTensor, read_layers, read_tensor
from llmasos_builder.tensorrt.interpreter.layers import FORMULAS
from llmasos_builder.tensorrt.interpreter.numbers import Array, held, rounded_to
from llmasos_builder.tensorrt.interpreter.rules import check_documented

Values = dict[str, Array]


def interpret(
    network: Any, feeds: Mapping[str, Array], constants: Constants, *, rounding: bool = True
) -> dict[str, Array]:
    """Returns the outputs of an `INetworkDefinition` by name.

    feeds: its inputs by name. constants, rounding: see `Interpreter`.
    """
    return Interpreter(network, constants, rounding=rounding).run(feeds)


class Interpreter:
    """A network that is read once and computed many times.

    constants: the arrays of constants that cannot be read back.
    rounding: False keeps float32 in everything that depends on the inputs, which tests only the
    structure of the network; constants, and results of constants alone, are rounded anyway.
    progress: called with the number of layers read and their total.

    Raises InterpretationError for a layer of an unknown kind, one that TensorRT's documentation
    forbids, or one whose result does not have the shape that TensorRT infers.
    """

    def __init__(
        self,
        network: Any,
        constants: Constants,
        *,
        rounding: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._network = network  # whose settings live as long as it does
        self._rounding = rounding
        self.inputs = [read_tensor(network.get_input(i)) for i in range(network.num_inputs)]
        self.outputs = [read_tensor(network.get_output(i)) for i in range(network.num_outputs)]
        self._layers: list[Layer] = []
        self._fixed: Values = {}
        layers = read_layers(network)
        with np.errstate(all="ignore"):  # infinities and NaN are results like others
            for done, layer in enumerate(layers):
                if progress is not None:
                    progress(done, len(layers))
                self._add(layer, constants)
        needed = {tensor.name for layer in self._layers for tensor in layer.inputs if tensor}
        needed |= {tensor.name for tensor in self.outputs}
        self._fixed = {name: self._fixed[name] for name in self._fixed.keys() & needed}
        kept = self._fixed.keys() | {tensor.name for tensor in self.outputs}
        self._last_uses = [names - kept for names in _last_uses(self._layers)]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Returns the outputs by name, floats of any type as float32.

        Raises InterpretationError for inputs that are missing, unknown or of another shape, and for
        a network that is only one rank of several.
        """
        return run_together([self.running(feeds)])[0]

    def running(self, feeds: Mapping[str, Array]) -> Running:
        """Does what `run` does, as one rank of several."""
        unknown = feeds.keys() - {tensor.name for tensor in self.inputs}
        if unknown:
            raise InterpretationError(f"the network has no input {', '.join(sorted(unknown))}")
        values = self._fixed | {tensor.name: self._fed(tensor, feeds) for tensor in self.inputs}
        for layer, unused in zip(self._layers, self._last_uses, strict=True):
            if layer.kind == COLLECTIVE:
                given = [values[tensor.name] for tensor in layer.inputs if tensor is not None]
                result = yield Exchange(layer=layer, given=given[0])
                values.update(_kept(layer, (result,), rounding=self._rounding))
            else:
                values.update(_computed(layer, values, rounding=self._rounding))
            for name in unused:
                del values[name]
        return {tensor.name: values[tensor.name] for tensor in self.outputs}

    def _add(self, layer: Layer, constants: Constants) -> None:
        """Computes a layer that depends on no input now, and any other in every run."""
        if layer.kind == "CONSTANT":
            self._fixed[layer.outputs[0].name] = read_constant(layer, constants)
            return
        if layer.kind not in (*FORMULAS, COLLECTIVE):
            raise InterpretationError(
                f"layer {layer.name!r} is of the kind {layer.kind}, which cannot be interpreted"
            )
        check_documented(layer, self._fixed)
        if layer.kind != COLLECTIVE and all(
            tensor is not None and tensor.name in self._fixed for tensor in layer.inputs
        ):
            self._fixed.update(_computed(layer, self._fixed, rounding=True))
        else:
            self._layers.append(layer)

    def _fed(self, tensor: LayerTensor, feeds: Mapping[str, Array]) -> Array:
        if tensor.name not in feeds:
            raise InterpretationError(f"the input {tensor.name} is not given")
        keep = rounded_to if self._rounding else held
        given = keep(np.asarray(feeds[tensor.name]), tensor.dtype)
        if not _fits(tensor, given):
            raise InterpretationError(
                f"the input {tensor.name} has the shape {list(given.shape)}, "
                f"{list(tensor.shape)} expected"
            )
        return given


def _computed(layer: Layer, values: Mapping[str, Array], *, rounding: bool) -> Values:
    """Returns a layer's outputs by name."""
    inputs = [None if tensor is None else values[tensor.name] for tensor in layer.inputs]
    results = FORMULAS[layer.kind](layer, inputs)
    results = results if isinstance(results, tuple) else (results,)
    return _kept(layer, results, rounding=rounding)


def _kept(layer: Layer, results: tuple[Array, ...], *, rounding: bool) -> Values:
    """Converts a layer's results to the types of its outputs, by name."""
    keep = rounded_to if rounding else held
    computed: Values = {}
    for tensor, result in zip(layer.outputs, results, strict=True):
        if not _fits(tensor, result):
            raise layer.error(f"gives {list(result.shape)}, TensorRT infers {list(tensor.shape)}")
        computed[tensor.name] = keep(result, tensor.dtype)
    return computed


def _fits(tensor: LayerTensor, values: Array) -> bool:
    return len(tensor.shape) == values.ndim and all(
        inferred in (-1, size) for inferred, size in zip(tensor.shape, values.shape, strict=True)
    )


def _last_uses(layers: Iterable[Layer]) -> list[set[str]]:
    """For each layer the inputs that no later layer reads."""
    read: set[str] = set()
    last_uses: list[set[str]] = []
    for layer in reversed(list(layers)):
        own = {tensor.name for tensor in layer.inputs if tensor is not None}
        last_uses.append(own - read)
        read |= own
    return last_uses[::-1]
