"""A network of TensorRT's own layers, with in-flight batching built in.

It has never run on a GPU: tests check that it compiles, and check what it computes by reading it
back layer by layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llmasos.engine.engine_io import HIDDEN_STATES_OUT
from llmasos.engine.plan import Precision
from llmasos.errors import PlanError
from llmasos.tensorrt_log import shared_log

from llmasos_builder.checkpoint import Fp8Scales
from llmasos_builder.graph import Activation, Array, AttentionScores, each_linear
from llmasos_builder.graph.refused_operations import DecodersOnly
from llmasos_builder.tensorrt.cached_attention import CachedAttention
from llmasos_builder.tensorrt.candidates import output_candidates
from llmasos_builder.tensorrt.constants import Constant, Constants
from llmasos_builder.tensorrt.inputs import Inputs
from llmasos_builder.tensorrt.layers import Layers
from llmasos_builder.tensorrt.options import NetworkOptions
from llmasos_builder.tensorrt.weight_slice import WeightSlice
from llmasos_builder.tensorrt.weights import TensorRTWeight, kept_as


class TensorRTGraph(DecodersOnly):
    """Implements `Graph`: wide tensors are [B * S, width], heads [B, H, S, D].

    After select_sampled wide tensors are [B, width].

    definition: the INetworkDefinition, strongly typed. builder: its builder.
    profiles: the optimization profiles, prefill first.
    """

    compiler = "target tensorrt"

    def __init__(
        self,
        library: Any,
        options: NetworkOptions,
        *,
        fp8_scales: Mapping[str, Fp8Scales] | None = None,
    ) -> None:
        """fp8_scales: those of each matrix that was stored in fp8, by its name; with precision fp8
        only these matrices are fp8 again.
        """
        self.library = library
        self._fp8_scales = {} if fp8_scales is None else fp8_scales
        self.options = options
        self.builder = _builder(library)
        flag = library.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.definition = self.builder.create_network(1 << int(flag))
        self._constants = Constants(library, self.definition, options.compute_type)
        self._layers = Layers(library, self.definition, self._constants)
        self._inputs = Inputs(self._layers, self.builder, options)
        self._attention = CachedAttention(self._layers, self._inputs, options)

    @property
    def constants(self) -> Mapping[str, Constant]:
        """Every constant by the name of its layer and tensor, as passed to TensorRT."""
        return self._constants.by_name

    @property
    def profiles(self) -> Sequence[Any]:
        return self._inputs.profiles

    @property
    def layers(self) -> Layers:
        return self._layers

    @property
    def inputs(self) -> Inputs:
        return self._inputs

    def weight(
        self,
        name: str,
        values: Array,
        precision: Precision,
        weight_slice: WeightSlice | None = None,
    ) -> TensorRTWeight:
        """weight_slice: the part that this rank keeps; None keeps all of it."""
        compute_type = self.options.compute_type
        scales = self._fp8_scales.get(name) if precision == "fp8" else None
        kept = kept_as(name, precision, compute_type, self._fp8_scales)
        return TensorRTWeight(
            self._layers, name, values, kept, compute_type, weight_slice=weight_slice, scales=scales
        )

    def hidden_input(self, width: int) -> Any:
        """Hidden states from the stage before, unless this is the first stage of a pipeline."""
        return self._layers.reshape(self._inputs.hidden_states(width), (-1, width))

    def hidden_output(self, x: Any) -> None:
        """Hidden states for the stage after, hidden_states_out [B, S, width]."""
        shape = self._inputs.shape_of_tokens(int(x.shape[1]))
        states = self._layers.reshape(x, shape)
        states.name = HIDDEN_STATES_OUT
        self.definition.mark_output(states)

    def embed_tokens(self, table: TensorRTWeight) -> Any:
        return self._layers.gather(table.table(), self._inputs.flat_ids)

    def embed_positions(self, table: TensorRTWeight) -> Any:
        return self._layers.gather(table.table(), self._inputs.flat_positions)

    def linear(self, x: Any, weight: TensorRTWeight, bias: TensorRTWeight | None = None) -> Any:
        if weight.activation_scale is not None:
            x = self._layers.rounded_to_fp8(x, weight.activation_scale)
        product = self._layers.matmul_transposed(x, weight.matrix())
        return product if bias is None else self._layers.add(product, bias.vector(2))

    def linears(
        self,
        x: Any,
        weights: Sequence[TensorRTWeight],
        biases: Sequence[TensorRTWeight] | None = None,
    ) -> tuple[Any, ...]:
        return each_linear(self, x, weights, biases)

    def rms_norm(self, x: Any, weight: TensorRTWeight, *, eps: float) -> Any:
        """Computed in f32, weight included: activations near a weight of 1 would lose most
        precision.
        """
        layers, rank = self._layers, len(x.shape)
        exact = layers.cast(x, self.library.float32)
        mean = layers.reduce_last(layers.multiply(exact, exact), "AVG")
        shift = self._constants.scalar(eps, rank=rank, exact=True)
        scaled = layers.divide(exact, layers.unary(layers.add(mean, shift), "SQRT"))
        weighted = layers.multiply(scaled, weight.exact_vector(rank))
        return layers.cast(weighted, self._constants.dtype)

    def layer_norm(
        self, x: Any, weight: TensorRTWeight, bias: TensorRTWeight | None, *, eps: float
    ) -> Any:
        rank = len(x.shape)
        scale = weight.vector(rank)
        if bias is None:
            shift = self._constants.of_compute_type(np.zeros(tuple(scale.shape)))
        else:
            shift = bias.vector(rank)
        return self._layers.layer_norm(x, scale, shift, eps=eps)

    def activation(self, x: Any, kind: Activation) -> Any:
        match kind:
            case "silu":
                return self._layers.multiply(x, self._layers.activation(x, "SIGMOID"))
            case "gelu":
                return self._layers.activation(x, "GELU_ERF")
            case "gelu_tanh":
                return self._layers.activation(x, "GELU_TANH")
            case "relu":
                return self._layers.activation(x, "RELU")
            case "tanh":
                return self._layers.activation(x, "TANH")

    def soft_cap(self, x: Any, cap: float) -> Any:
        return self._layers.soft_cap(x, cap)

    def add(self, a: Any, b: Any) -> Any:
        return self._layers.add(a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        return self._layers.multiply(a, b)

    def split(self, x: Any, widths: Sequence[int]) -> tuple[Any, ...]:
        starts = np.cumsum([0, *widths]).tolist()
        return tuple(
            self._layers.columns(x, start, width)
            for start, width in zip(starts[:-1], widths, strict=True)
        )

    def concat(self, parts: Sequence[Any]) -> Any:
        return self._layers.concat(parts, axis=1)

    def split_heads(self, x: Any, num_heads: int) -> Any:
        shape = self._inputs.shape_of_tokens(num_heads, int(x.shape[1]) // num_heads)
        return self._layers.reshape(x, shape, after=(0, 2, 1, 3))

    def merge_heads(self, x: Any) -> Any:
        width = int(x.shape[1]) * int(x.shape[3])
        return self._layers.reshape(x, self._inputs.shape_of_rows(width), before=(0, 2, 1, 3))

    def rotary(self, x: Any, frequencies: tuple[float, ...]) -> Any:
        return self._attention.rotary(x, frequencies)

    def cached_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        *,
        scores: AttentionScores,
        distance_bias: TensorRTWeight | None = None,
    ) -> Any:
        self.refuse_distances(distance_bias)
        return self._attention.attend(query, key, value, scores=scores)

    def select_sampled(self, x: Any) -> Any:
        return self._layers.gather(x, self._inputs.last_token_index)

    def output(self, logits: Any) -> None:
        """See `output_candidates`."""
        output_candidates(
            self._layers,
            logits,
            num_candidates=self.options.num_candidates,
            full_logits=self.options.full_logits,
        )


def _builder(library: Any) -> Any:
    """Raises PlanError if this machine cannot compile."""
    try:
        return library.Builder(shared_log(library))
    except TypeError as error:  # what the bindings make of no object
        raise PlanError(
            f"{library.__name__} cannot compile on this machine: {error}",
            hint="it needs an NVIDIA GPU; without one, tensorrt_rtx compiles ahead of time",
        ) from error
