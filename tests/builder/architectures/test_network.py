"""A network that is no decoder is built on the same path: nothing on it assumes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from llmasos.engine.engine_io import INPUT_IDS, OPENVINO_FILE
from llmasos.engine.plan import EnginePlan, Limits, Precision, Task
from llmasos.errors import CheckpointError, PlanError, UnsupportedArchitectureError
from llmasos.openvino_import import ov
from llmasos_builder import build as building
from llmasos_builder import compilers
from llmasos_builder.architectures import Network, matrices_in_int8
from llmasos_builder.architectures.network import Load, TensorT, WeightRole, WeightT
from llmasos_builder.architectures.tensors import check_tensors, required_tensors
from llmasos_builder.checkpoint import Weights, open_checkpoint
from llmasos_builder.graph import Graph
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.reference import ReferenceGraph
from llmasos_builder.openvino.compile import compile_openvino
from llmasos_builder.options import BuildOptions
from llmasos_builder.sizes import network_sizes
from llmasos_runtime.load import load_engine
from llmasos_serving.triton.repositories.served_repository import check_repository

TABLE, MATRIX = "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"


@dataclass(frozen=True, kw_only=True)
class OneMatrix:
    """An encoder of one matrix: a vector of each token, and no KV cache.

    refused: the one tensor that a checkpoint must not hold.
    """

    vocab_size: int
    hidden_size: int
    width: int
    num_heads: int = 1
    attention_cap: float | None = None
    max_position_embeddings: int = 64
    usual_length: int = 64
    task: Task = "embed"
    cache: None = None
    refused: str | None = "model.norm.weight"

    def for_length(self, max_seq_len: int) -> OneMatrix:
        return self

    def define(self, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision) -> None:
        table = load(TABLE, (self.vocab_size, self.hidden_size))
        x = graph.embed_tokens(graph.weight(TABLE, table, precision))
        matrix = load(MATRIX, (self.width, self.hidden_size))
        graph.output(graph.linear(x, graph.weight(MATRIX, matrix, precision)))

    def role_of(self, weight: str) -> WeightRole | None:
        return None

    def copies(self) -> Mapping[str, str]:
        return {}

    def ignores(self, tensor: str) -> bool:
        return tensor != self.refused


@pytest.fixture
def weights(tiny_llama: Path) -> Weights:
    return open_checkpoint(tiny_llama).weights


def encoder(weights: Weights) -> OneMatrix:
    (vocab_size, hidden_size), (width, _) = weights.shape(TABLE), weights.shape(MATRIX)
    return OneMatrix(vocab_size=vocab_size, hidden_size=hidden_size, width=width)


class Without:
    """Weights without one that nothing ignores."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.shape, self.load = weights.shape, weights.load

    def names(self) -> frozenset[str]:
        return frozenset(self._weights.names() - {"model.norm.weight"})


def test_its_definition_is_recorded_as_any_networks_is(weights: Weights) -> None:
    network, graph = encoder(weights), RecordingGraph()
    network.define(graph, lambda name, _: weights.load(name), precision="int4")
    assert [operation.kind for operation in graph.operations] == [
        "embed_tokens",
        "linear",
        "output",
    ]
    assert set(required_tensors(network)) == {TABLE, MATRIX}
    assert matrices_in_int8(network) == (TABLE.removesuffix(".weight"),)


def test_its_checkpoint_is_checked_by_what_it_reads_and_ignores(weights: Weights) -> None:
    with pytest.raises(CheckpointError, match=r"tensor model.norm.weight, which the network"):
        check_tensors(encoder(weights), weights)
    assert set(check_tensors(encoder(weights), Without(weights))) == {TABLE, MATRIX}


@pytest.mark.parametrize("precision", ["f32", "int8", "int4"])
def test_openvino_computes_what_the_reference_does(
    weights: Weights, tmp_path: Path, precision: Precision
) -> None:
    network, path = encoder(weights), tmp_path / OPENVINO_FILE
    in_int8 = matrices_in_int8(network) if precision == "int4" else ()
    compile_openvino(
        network,
        Without(weights),
        precision=precision,
        output=path,
        progress=lambda done, total: None,
        in_int8=in_int8,
    )
    ids = np.array([[3, 1, 4, 1, 5]])
    reference = ReferenceGraph(ids, in_int8=[f"{name}.weight" for name in in_int8])
    network.define(reference, lambda name, _: weights.load(name), precision=precision)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    model = ov.Core().compile_model(path, "CPU", exact)
    assert {port.any_name for port in model.inputs} == {INPUT_IDS}, "all that it uses"
    found = model({INPUT_IDS: ids[0]})[0]
    np.testing.assert_allclose(found, reference.logits[0], rtol=1e-4, atol=1e-5)


def test_its_sizes_have_no_cache(weights: Weights) -> None:
    network = encoder(weights)
    sizes = network_sizes(network, precision="f32", target="openvino")
    assert (sizes.num_layers, sizes.num_kv_heads, sizes.head_size, sizes.head_bytes) == (0, 0, 0, 0)
    assert sizes.embedding_bytes == 4 * network.vocab_size * network.hidden_size
    assert sizes.matrix_bytes == 4 * network.width * network.hidden_size
    assert (sizes.widest, sizes.num_parameters) == (network.width, sizes.weight_bytes // 4)


def test_its_plan_says_its_task_and_what_generates_refuses_it(
    tiny_llama: Path, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def network_of(_: object) -> Network:
        return replace(encoder(weights), refused=None)

    monkeypatch.setattr(building, "network_of", network_of)
    repository = building.build(tiny_llama, tmp_path / "built", BuildOptions(precision="int4"))
    plan_dir = repository / "engine" / "1" / "plan"
    plan = EnginePlan.load(plan_dir)
    assert (plan.task, plan.num_layers, plan.weights.method) == ("embed", 0, "rtn-clip-search")
    assert plan.encoder is not None
    assert plan.encoder.width == encoder(weights).width
    assert check_repository(repository) == "embed"
    with pytest.raises(PlanError, match="is built for the task embed, and the task asked of"):
        load_engine(plan_dir)


def test_tensorrt_compiles_decoders_alone(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_library(_: object) -> None:
        return None

    monkeypatch.setattr(compilers, "load_library", no_library)
    options = BuildOptions(target="tensorrt", precision="fp16", gpus=("sm89",))
    compiler = compilers.compiler_for(options)
    with pytest.raises(UnsupportedArchitectureError, match="this network is for the task embed"):
        compiler.compile(
            encoder(weights), weights, Limits(max_seq_len=64), tmp_path, lambda done, total: None
        )
