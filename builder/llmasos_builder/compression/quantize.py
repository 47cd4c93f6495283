"""Quantizes a checkpoint into another, in compressed-tensors' format.

The network runs over calibration text layer by layer (`streaming`). Each matrix is quantized when
its inputs are there, and the layers after it see what the quantized matrix gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import UnsupportedArchitectureError
from llmasos.progress import Progress
from llmasos.text.tokenizer import Tokenizer
from numpy.typing import NDArray

from llmasos_builder.architectures import Network, network_of
from llmasos_builder.architectures.tensors import check_tensors, load_tensor
from llmasos_builder.atomic_directory import atomic_directory
from llmasos_builder.checkpoint import Checkpoint
from llmasos_builder.checkpoint.huggingface.quantized.weights import QuantizedWeights
from llmasos_builder.checkpoint.huggingface.safetensors_file import DTYPES
from llmasos_builder.compression.awq import activation_aware
from llmasos_builder.compression.bit_allocation import matrices_in_8_bits, measured_costs
from llmasos_builder.compression.calibration import calibration_windows
from llmasos_builder.compression.fold_sites import fold_sites
from llmasos_builder.compression.formats import FORMATS, QuantizationFormat
from llmasos_builder.compression.gptq import Hessian
from llmasos_builder.compression.layer_matrices import (
    layer_matrices,
    sharing_inputs,
    without_ignored,
)
from llmasos_builder.compression.matrix_quantizer import InputProducts, quantized_matrix
from llmasos_builder.compression.quantize_options import QuantizeOptions
from llmasos_builder.compression.quantized_checkpoint import (
    stored_bits,
    stored_kind,
    write_checkpoint,
)
from llmasos_builder.compression.staging import Staging
from llmasos_builder.compression.streaming import stream
from llmasos_builder.graph import Array

_MEASURED_WINDOWS, _MEASURED_TOKENS = 4, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """What was written: the quantized matrices, and the bits that one of their weights takes on
    average, scales and zero points included.
    """

    num_matrices: int
    bits: float


def quantize(
    checkpoint: Checkpoint, output: Path, options: QuantizeOptions, progress: Progress
) -> Quantized:
    """Writes a Hugging Face directory whose layers' matrices are quantized.

    A run that was stopped goes on where it was, if the options and the checkpoint are the same.
    Raises UnsupportedArchitectureError for a network whose matrices cannot be quantized where they
    are stored, InvalidRequestError for calibration text that is too short or groups that do not
    divide a matrix, CheckpointError where activations are not finite, PlanError if the output is in
    the way or the disk is full.
    """
    if "quantization_config" in checkpoint.config or isinstance(
        checkpoint.weights, QuantizedWeights
    ):
        raise UnsupportedArchitectureError("a quantized checkpoint is not quantized again")
    network = network_of(checkpoint.config)
    shapes = check_tensors(network, checkpoint.weights)
    orders = layer_matrices(network)
    for name in without_ignored(list(orders), options.ignore):
        if options.format.integers is not None:
            options.format.integers.group_of(name, shapes[name][1])
    with atomic_directory(output, may_replace=lambda _: False) as directory:
        for file, content in checkpoint.tokenizer_files.items():
            (directory / file).write_bytes(content)
        windows = _windows(directory, options)
        staging = Staging(output, _job(checkpoint, options, windows))
        checkpoint = _scaled(checkpoint, network, orders, options, windows, progress=progress)
        formats = _formats(checkpoint, network, list(orders), options, windows, progress=progress)
        work = _Work(checkpoint, options, staging, network=network, orders=orders, formats=formats)
        work.run(windows, progress)
        write_checkpoint(
            directory, checkpoint, staging, formats, matrices=list(orders), progress=progress
        )
        stored = stored_bits(staging, list(formats))
    staging.remove()
    count = sum(math.prod(shapes[name]) for name in formats)
    return Quantized(num_matrices=len(formats), bits=stored / count if count else 0.0)


class _Work:
    """One quantization: which matrices, and where those that are done wait."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        options: QuantizeOptions,
        staging: Staging,
        *,
        network: Network,
        orders: Mapping[str, NDArray[np.int64]],
        formats: Mapping[str, QuantizationFormat],
    ) -> None:
        self._checkpoint = checkpoint
        self._network = network
        self._orders = orders
        self._formats = formats
        self._options = options
        self._staging = staging
        self._scale_type = DTYPES[stored_kind(checkpoint.config)]
        self._products = InputProducts()

    def run(self, windows: NDArray[np.int64] | None, progress: Progress) -> None:
        """Quantizes every matrix into the staging directory."""
        total = len(self._formats)
        if windows is None:
            for index, name in enumerate(self._formats):
                progress("quantize", index, total)
                if not self._staging.has(name):
                    self._keep(name, load_tensor(self._checkpoint.weights, name), None)
            return
        done = 0

        def observe(name: str, inputs: Array, weight: Array) -> Array:
            nonlocal done
            if name not in self._formats:
                return weight
            progress("quantize", done, total)
            done += 1
            order = self._orders[name]
            if not self._staging.has(name):
                stored = np.empty_like(weight)
                stored[order] = weight
                hessian = self._products.of(inputs) if self._options.uses_gptq else None
                self._keep(name, stored, hessian)
            return self._staging.values(name)[order]

        stream(self._network, self._checkpoint.weights, windows, observe, relative=True)

    def _keep(self, name: str, values: Array, hessian: Hessian | None) -> None:
        tensors = quantized_matrix(
            name,
            values,
            self._formats[name],
            self._options.method,
            scale_type=self._scale_type,
            hessian=hessian,
        )
        self._staging.keep(name, tensors)


def _scaled(
    checkpoint: Checkpoint,
    network: Network,
    orders: Mapping[str, NDArray[np.int64]],
    options: QuantizeOptions,
    windows: NDArray[np.int64] | None,
    *,
    progress: Progress,
) -> Checkpoint:
    """Returns the checkpoint of the same network whose columns awq has scaled."""
    integers = options.format.integers
    if not options.uses_awq or windows is None or integers is None:
        return checkpoint
    sites = fold_sites(network, orders, without_ignored(list(orders), options.ignore))
    scale_type = DTYPES[stored_kind(checkpoint.config)]
    weights = activation_aware(
        network,
        checkpoint.weights,
        windows,
        sites,
        integers,
        scale_type=scale_type,
        progress=progress,
    )
    return replace(checkpoint, weights=weights)


def _formats(
    checkpoint: Checkpoint,
    network: Network,
    matrices: list[str],
    options: QuantizeOptions,
    windows: NDArray[np.int64] | None,
    *,
    progress: Progress,
) -> dict[str, QuantizationFormat]:
    """Returns the format of each matrix that is quantized, by its name."""
    chosen = without_ignored(matrices, options.ignore)
    formats = dict.fromkeys(chosen, options.format)
    budget, integers = options.bits_budget, options.format.integers
    if budget is None or windows is None or integers is None:
        return formats
    few = windows[:_MEASURED_WINDOWS, :_MEASURED_TOKENS]
    weights = checkpoint.weights
    costs = measured_costs(network, weights, few, chosen, integers, progress=progress)
    shapes = {name: weights.shape(name) for name in chosen}
    in_8 = matrices_in_8_bits(costs, shapes, sharing_inputs(network), integers, budget)
    return formats | dict.fromkeys(sorted(in_8), FORMATS["W8A16"])


def _windows(directory: Path, options: QuantizeOptions) -> NDArray[np.int64] | None:
    """Returns the calibration windows; None if the method needs none."""
    if not (options.uses_gptq or options.uses_awq or options.bits_budget is not None):
        return None
    return calibration_windows(Tokenizer.load(directory), options.calibration)


def _job(
    checkpoint: Checkpoint, options: QuantizeOptions, windows: NDArray[np.int64] | None
) -> dict[str, Any]:
    return {
        "checkpoint": checkpoint.sha256(),
        "format": repr(options.format),
        "method": options.method,
        "ignore": list(options.ignore),
        "bits_budget": options.bits_budget,
        "windows": None if windows is None else windows.tolist(),
    }
