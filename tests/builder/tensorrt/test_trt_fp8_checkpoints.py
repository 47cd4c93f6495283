"""A checkpoint that is fp8 already computes by its own scales, in an engine as in transformers."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from family_networks import PHI3
from llmasos.engine.plan import Limits
from llmasos.errors import InvalidRequestError
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.checkpoint import (
    Checkpoint,
    Fp8Scales,
    Weights,
    fp8_scales_of,
    open_checkpoint,
)
from llmasos_builder.checkpoint.huggingface.fp8_weights import Fp8Weights
from llmasos_builder.checkpoint.huggingface.safetensors_weights import FP8, SafetensorsWeights
from llmasos_builder.compilers import compiler_for
from llmasos_builder.options import BuildOptions
from llmasos_builder.tensorrt.compile import compile_tensorrt, define_network, serialize
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.parallel.rank import WHOLE
from llmasos_builder.tensorrt.rounded_reference import RoundedReference, uses_of
from networks import NETWORKS
from parity import Network, make_network
from safetensors.numpy import load_file, save_file
from trt_models import (
    check_in_flight,
    engine,
    in_type,
    options,
    trt,
    with_blocks,
    with_rounded_weights,
)

E4M3 = ml_dtypes.float8_e4m3fn
LARGEST = 448
# Where rounding lets an activation fall on the other side of a step, it moves by a whole one.
STEP = 1e-2
LONGROPE = {
    "type": "longrope",
    "attention_factor": 1.2,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0] * 4,
}


def matrices(oracle: Any) -> Iterator[tuple[str, Any]]:
    """Every linear but the head, by its name, as checkpoints in fp8 have them."""
    for name, module in oracle.named_modules():
        if name != "lm_head" and type(module).__name__ in ("Linear", "Conv1D"):
            yield name, module


def calibrated(network: Network) -> dict[str, float]:
    """A scale for what each linear is given; the largest values leave the range."""
    seen: dict[str, float] = {}

    def note(name: str) -> Any:
        def hook(_module: Any, inputs: Any) -> None:
            seen[name] = max(seen.get(name, 0), float(inputs[0].abs().max()))

        return hook

    hooks = [m.register_forward_pre_hook(note(n)) for n, m in matrices(network.oracle)]
    network.logits(np.random.default_rng(3).integers(0, 300, 40).tolist())
    for hook in hooks:
        hook.remove()
    return {name: 0.7 * largest / LARGEST for name, largest in seen.items()}


def write_fp8(directory: Path, network: Network, activations: dict[str, float]) -> Checkpoint:
    """The checkpoint again, in fp8."""
    tensors = load_file(directory / "model.safetensors")
    for name, _ in matrices(network.oracle):
        values = tensors[f"{name}.weight"]
        scale = np.abs(values).max() / np.float32(LARGEST)
        tensors[f"{name}.weight"] = (values / scale).astype(E4M3)
        tensors[f"{name}.weight_scale"] = np.array(scale, np.float32)
        if activations:
            tensors[f"{name}.input_scale"] = np.array(activations[name], np.float32)
    save_file(tensors, directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "modelopt", "quant_algo": "FP8"}
    (directory / "config.json").write_text(json.dumps(config))
    return open_checkpoint(directory)


def rounding_to_fp8(scale: float) -> Any:
    def hook(_module: Any, inputs: Any) -> Any:
        bounded = (inputs[0] / scale).clamp(-LARGEST, LARGEST)
        return ((bounded.float().to(torch.float8_e4m3fn).float() * scale).to(inputs[0].dtype),)

    return hook


def dequantized(network: Network, weights: Weights) -> Network:
    oracle = copy.deepcopy(network.oracle)
    for name, module in matrices(oracle):
        with torch.no_grad():
            module.weight.copy_(torch.tensor(weights.load(f"{name}.weight")))
    return Network(network.spec, weights, oracle)


def as_stored(network: Network, weights: Weights, scales: dict[str, Fp8Scales]) -> Network:
    """transformers' network with the matrices and the rounding that the checkpoint asks for."""
    stored = with_rounded_weights(dequantized(network, weights), "fp16")
    for name, module in matrices(stored.oracle):
        scale = scales.get(f"{name}.weight")
        if scale is not None and scale.activation is not None:
            module.register_forward_pre_hook(rounding_to_fp8(scale.activation))
    return stored


def graph_of(network: Network, weights: Weights, precision: Any, **scales: Any) -> TensorRTGraph:
    return define_network(
        network.spec,
        lambda name, _: weights.load(name),
        library=trt,
        options=options(precision),
        **scales,
    )


@pytest.fixture(scope="module", params=["llama-80-biases", "gpt2-16"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind, config = NETWORKS[request.param]
    directory = tmp_path_factory.mktemp("made")
    return directory, make_network(directory, with_blocks(config), kind=kind)


@pytest.fixture(scope="module")
def made(network: tuple[Path, Network]) -> tuple[Network, Checkpoint]:
    directory, original = network
    return original, write_fp8(directory, original, calibrated(original))


def test_an_engine_computes_by_the_scales_of_its_checkpoint(
    made: tuple[Network, Checkpoint],
) -> None:
    original, checkpoint = made
    scales = fp8_scales_of(checkpoint.weights)
    graph = graph_of(original, checkpoint.weights, "fp8", fp8_scales=scales)
    expected = as_stored(original, checkpoint.weights, dict(scales))
    check_in_flight(engine(graph, rounding=False), expected, tolerance=STEP)
    rounded = in_type(expected, "fp16")
    check_in_flight(engine(graph), expected, tolerance=STEP, rounded=rounded)


def test_activations_that_are_not_rounded_are_found(made: tuple[Network, Checkpoint]) -> None:
    original, checkpoint = made
    scales = dict(fp8_scales_of(checkpoint.weights))
    unrounded = {name: replace(scale, activation=None) for name, scale in scales.items()}
    graph = graph_of(original, checkpoint.weights, "fp8", fp8_scales=unrounded)
    with pytest.raises(AssertionError, match="logits differ"):
        check_in_flight(
            engine(graph, rounding=False),
            as_stored(original, checkpoint.weights, scales),
            tolerance=STEP,
        )
    check_in_flight(
        engine(graph, rounding=False), as_stored(original, checkpoint.weights, unrounded)
    )


def test_the_reference_of_verify_rounds_as_transformers_does(
    made: tuple[Network, Checkpoint],
) -> None:
    original, checkpoint = made
    weights = checkpoint.weights
    scales = fp8_scales_of(weights)
    ids = np.random.default_rng(5).integers(0, 300, (1, 30))
    graph = RoundedReference(ids, uses_of(original.spec), "fp16", fp8_scales=scales)
    define_decoder(original.spec, graph, lambda name, _: weights.load(name), precision="fp8")
    stored = as_stored(original, weights, dict(scales))
    for module in stored.oracle.modules():
        if type(module).__name__.endswith("RotaryEmbedding"):
            module._forward_hooks.clear()  # the reference's tables are exact
    expected = stored.logits(ids[0].tolist())
    plain = with_rounded_weights(original, "fp16").logits(ids[0].tolist())
    # At most of the tokens nothing falls on the other side of a step.
    own, others = (np.median(np.abs(x - expected).max(axis=1)) for x in (graph.logits[0], plain))
    assert own < 1e-4 * np.abs(expected).max() < STEP * np.abs(expected).max() < others


def test_what_is_fp8_is_taken_as_it_is_and_what_is_not_stays_so(
    made: tuple[Network, Checkpoint],
) -> None:
    original, checkpoint = made
    scales = fp8_scales_of(checkpoint.weights)
    graph = graph_of(original, checkpoint.weights, "fp8", fp8_scales=scales)
    types = {name: constant.values.dtype for name, constant in graph.constants.items()}
    assert {name for name, kind in types.items() if kind == np.dtype(E4M3)} == scales.keys()
    for name, scale in scales.items():
        values = graph.constants[name].values.astype(np.float32) * np.float32(scale.weight)
        stored = checkpoint.weights.load(name)
        turned = original.spec.names.linears_transposed
        assert np.array_equal(values, stored.T if turned else stored)
        assert graph.constants[f"{name}.scale"].values == np.float32(scale.weight)
    if not original.spec.tied:
        assert types["lm_head.weight"] == np.dtype(np.float16)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_in_any_other_precision_it_is_dequantized_first(
    made: tuple[Network, Checkpoint], precision: Any
) -> None:
    original, checkpoint = made
    graph = graph_of(
        original, checkpoint.weights, precision, fp8_scales=fp8_scales_of(checkpoint.weights)
    )
    expected = with_rounded_weights(dequantized(original, checkpoint.weights), precision)
    check_in_flight(engine(graph, rounding=False), expected)


@pytest.mark.parametrize("gpu", ["sm89", "sm120"])
def test_it_compiles(made: tuple[Network, Checkpoint], gpu: str) -> None:
    original, checkpoint = made
    scales = fp8_scales_of(checkpoint.weights)
    graph = graph_of(original, checkpoint.weights, "fp8", fp8_scales=scales)
    assert kinds(graph).count("QUANTIZE") == len(scales)
    assert len(serialize(graph, [gpu])) > 100_000


def test_a_build_passes_the_scales_on(
    made: tuple[Network, Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, checkpoint = made
    graphs: list[TensorRTGraph] = []

    def kept(graph: TensorRTGraph, _gpus: Sequence[str]) -> bytes:
        graphs.append(graph)
        return b"engine"

    monkeypatch.setattr("llmasos_builder.tensorrt.compile.serialize", kept)
    compile_tensorrt(
        original.spec,
        checkpoint.weights,
        library=trt,
        options=options("fp8"),
        gpus=["sm89"],
        outputs={WHOLE: tmp_path / "engine.trt"},
        progress=lambda done, total: None,
    )
    scales = fp8_scales_of(checkpoint.weights)
    assert kinds(graphs[0]).count("QUANTIZE") == len(scales) > 0


def kinds(graph: TensorRTGraph) -> list[str]:
    layers = map(graph.definition.get_layer, range(graph.definition.num_layers))
    return [layer.type.name for layer in layers]


def test_fp8_matrices_that_rotary_positions_would_change_are_refused(tmp_path: Path) -> None:
    spec = decoder_spec(PHI3 | {"partial_rotary_factor": 0.5, "rope_scaling": LONGROPE})
    save_file(
        {
            "model.a.weight": np.ones((2, 2), np.float32).astype(E4M3),
            "model.a.weight_scale": np.ones(1, np.float32),
        },
        tmp_path / "model.safetensors",
    )
    files = {"model.safetensors": tmp_path / "model.safetensors"}
    weights = Fp8Weights(SafetensorsWeights(files, also=(FP8,)))
    asked = BuildOptions(target="tensorrt", gpus=("sm89",), precision="fp8")
    limits = Limits(max_batch_size=2, max_num_tokens=16, max_seq_len=16)
    with pytest.raises(InvalidRequestError, match="precision fp8 keeps the checkpoint's own fp8"):
        compiler_for(asked).compile(spec, weights, limits, tmp_path, lambda done, total: None)
