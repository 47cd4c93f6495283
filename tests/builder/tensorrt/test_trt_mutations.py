"""A TensorRT network with a mistake in it, or in what it is fed, does not pass for a right one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_networks import FAMILY_NETWORKS, SOFT_CAPPED_NETWORKS
from llmasos_builder.architectures.families.bloom import alibi_slopes
from llmasos_builder.graph import AttentionScores
from llmasos_builder.tensorrt.interpreter import InterpretedNetwork, Row
from llmasos_builder.tensorrt.network import TensorRTGraph
from networks import NETWORKS
from parity import Network, make_network
from trt_models import (
    NUM_SLOTS,
    check_in_flight,
    defined,
    engine,
    in_type,
    options,
    trt,
    with_blocks,
    with_rounded_weights,
)


class NoRotary(TensorRTGraph):
    def rotary(self, x: Any, frequencies: tuple[float, ...]) -> Any:
        return x


class QueriesOnePositionAhead(TensorRTGraph):
    """Of both by one would change nothing: rotary positions are relative."""

    _calls = 0

    def rotary(self, x: Any, frequencies: tuple[float, ...]) -> Any:
        turned = super().rotary(x, frequencies)
        self._calls += 1
        if self._calls % 2:
            layers = self._layers
            one = layers.constants.int32(np.ones((1, 1)))
            ahead = layers.add(self._inputs.position_ids, one)
            rotary = [
                layer
                for layer in map(self.definition.get_layer, range(self.definition.num_layers))
                if layer.type == trt.LayerType.ROTARY_EMBEDDING
            ]
            rotary[-1].set_input(3, ahead)
        return turned


class EmbeddedOnePositionAhead(TensorRTGraph):
    def embed_positions(self, table: Any) -> Any:
        one = self._layers.constants.int32(np.ones(1))
        ahead = self._layers.add(self._inputs.flat_positions, one)
        return self._layers.gather(table.table(), ahead)


class SwappedHeads(TensorRTGraph):
    def merge_heads(self, x: Any) -> Any:
        size, wide = int(x.shape[3]), super().merge_heads(x)
        first, second, rest = self.split(wide, [size, size, int(wide.shape[1]) - 2 * size])
        return self.concat([second, first, rest])


class OtherMask(TensorRTGraph):
    """Keys up to `ahead` after a token are visible to it."""

    def __init__(self, ahead: int) -> None:
        super().__init__(trt, options("fp16"))
        layers, inputs = self._layers, self._inputs
        constants = layers.constants
        end = layers.add(
            layers.unsqueeze(inputs.position_ids, 1, 3),
            constants.int32(np.full((1, 1, 1, 1), ahead + 1)),
        )
        columns = np.arange(self.options.max_seq_len).reshape(1, 1, 1, -1)
        inputs.__dict__["visible"] = layers.less(constants.int32(columns), end)


class WrongScale(TensorRTGraph):
    def cached_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        *,
        scores: AttentionScores,
        distance_bias: Any = None,
    ) -> Any:
        self.refuse_distances(distance_bias)
        wrong = replace(scores, scale=1.5 * scores.scale)
        return super().cached_attention(query, key, value, scores=wrong)


class DroppedBias(TensorRTGraph):
    def linear(self, x: Any, weight: Any, bias: Any = None) -> Any:
        return super().linear(x, weight)


class DroppedNormWeight(TensorRTGraph):
    def rms_norm(self, x: Any, weight: Any, *, eps: float) -> Any:
        ones = self.weight(f"ones.{len(self.constants)}", np.ones(64, np.float32)[:32], "f32")
        return super().rms_norm(x, ones, eps=eps)


class OtherActivation(TensorRTGraph):
    def activation(self, x: Any, kind: Any) -> Any:
        return super().activation(x, "relu")


def plain(kind: type[TensorRTGraph]) -> Callable[[], TensorRTGraph]:
    return lambda: kind(trt, options("fp16"))


LLAMA, GPT2 = "llama-80-biases", "gpt2-16"


@pytest.fixture(scope="module", params=[LLAMA, GPT2])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    return made(request.param, tmp_path_factory.mktemp("checkpoint"))


def made(name: str, directory: Path) -> Network:
    kind, config = (NETWORKS | FAMILY_NETWORKS | SOFT_CAPPED_NETWORKS)[name]
    return make_network(directory, with_blocks(config), kind=kind)


MUTATIONS: dict[str, tuple[str, Callable[[], TensorRTGraph]]] = {
    "no rotary positions": (LLAMA, plain(NoRotary)),
    "queries one position ahead": (LLAMA, plain(QueriesOnePositionAhead)),
    "positions embedded one ahead": (GPT2, plain(EmbeddedOnePositionAhead)),
    "swapped heads": (LLAMA, plain(SwappedHeads)),
    "a token sees the next one": (LLAMA, lambda: OtherMask(1)),
    "a token does not see itself": (GPT2, lambda: OtherMask(-1)),
    "wrong scale": (LLAMA, plain(WrongScale)),
    "no bias": (GPT2, plain(DroppedBias)),
    "no bias in attention": (LLAMA, plain(DroppedBias)),
    "another activation": (LLAMA, plain(OtherActivation)),
    "no weight of a norm": (LLAMA, plain(DroppedNormWeight)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_in_the_network_is_found(mutation: str, tmp_path: Path) -> None:
    """Also where rounding is allowed for."""
    name, graph = MUTATIONS[mutation]
    network = made(name, tmp_path)
    reference = with_rounded_weights(network, "fp16")
    mutated = defined(network, "fp16", graph())
    for rounding, rounded in ((False, None), (True, in_type(reference, "fp16"))):
        with pytest.raises(AssertionError, match="logits differ"):
            check_in_flight(engine(mutated, rounding=rounding), reference, rounded=rounded)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mistral-32-mha-window", {"attention_windows": None}),
        ("mistral-32-mha-window", {"attention_windows": (20, 19)}),
        ("gemma2-32-gqa-tied", {"attention_windows": (None, 20)}),
        ("gemma2-32-gqa-tied", {"logit_cap": 3.3}),
        ("gemma2-32-gqa-capped", {"attention_cap": None}),
        ("bloom-16-untied", {"attention_slopes": alibi_slopes(8)[:4]}),
    ],
)
def test_attention_of_another_kind_is_found(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    network = made(name, tmp_path)
    other = replace(network, spec=replace(network.spec, **changes))
    with pytest.raises(AssertionError, match="logits differ"):
        check_in_flight(
            engine(defined(other, "fp16"), rounding=False), with_rounded_weights(network, "fp16")
        )


class Misfed(InterpretedNetwork):
    """One input is not what it should be."""

    name: str
    change: Callable[[Any], Any]

    def _feeds(self, rows: Sequence[Row]) -> dict[str, Any]:
        feeds = super()._feeds(rows)
        return feeds | {self.name: self.change(feeds[self.name])}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("position_ids", lambda x: x + 1),
        ("kv_write_index", lambda x: x + 1),
        ("kv_write_index", lambda x: x[::-1]),
        ("last_token_index", lambda x: np.maximum(x - 1, 0)),
        ("input_ids", lambda x: x[::-1]),
    ],
)
def test_a_mistake_in_what_is_fed_is_found(
    network: Network, name: str, change: Callable[[Any], Any]
) -> None:
    graph = defined(network, "fp16")
    model = Misfed(graph.definition, graph.constants, num_slots=NUM_SLOTS, rounding=False)
    model.name, model.change = name, change
    with pytest.raises(AssertionError, match="logits differ"):
        check_in_flight(model, with_rounded_weights(network, "fp16"))


def swapped_nibbles(values: Any) -> Any:
    return (values >> 4) | (values << 4)


@pytest.mark.parametrize("precision", ["int4", "nvfp4"])
def test_four_bits_in_the_wrong_half_of_a_byte_are_found(precision: Any, tmp_path: Path) -> None:
    network = made(LLAMA, tmp_path)
    graph = defined(network, precision)
    name = "model.layers.1.mlp.down_proj.weight"
    constant = graph.constants[name]
    wrong = {**graph.constants, name: replace(constant, values=swapped_nibbles(constant.values))}
    model = InterpretedNetwork(graph.definition, wrong, num_slots=NUM_SLOTS, rounding=False)
    with pytest.raises(AssertionError, match="logits differ"):
        check_in_flight(model, with_rounded_weights(network, precision))


@pytest.mark.parametrize("precision", ["int8", "int4", "fp8", "nvfp4"])
def test_the_scales_of_another_matrix_are_found(precision: Any, tmp_path: Path) -> None:
    """Scales in fp16 are read back from the network itself, so the array is changed in it."""
    network = made(LLAMA, tmp_path)
    graph = defined(network, precision)
    scales = graph.constants["model.layers.0.self_attn.v_proj.weight.scale"].values
    scales[...] = (scales.astype(np.float32) / 2).astype(scales.dtype)
    with pytest.raises(AssertionError, match="logits differ"):
        check_in_flight(engine(graph, rounding=False), with_rounded_weights(network, precision))
