"""Every decoder computes what transformers computes: by numpy, with state, and paged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llmasos.plan import Precision
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.safetensors_weights import SafetensorsWeights, find_weight_files
from networks import NETWORKS, gpt2
from openvino_models import PagedModel, StatefulModel
from parity import Model, Network, ReferenceModel, check_parity, compiled, make_network
from torch.nn import Parameter
from transformers import GPT2LMHeadModel


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    kind, config = NETWORKS[request.param]
    return make_network(tmp_path_factory.mktemp(request.param), config, kind=kind)


@pytest.fixture(scope="module")
def engine_file(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("engine"), network.spec, network.weights)


def test_the_definition_computes_what_transformers_does(network: Network) -> None:
    check_parity(ReferenceModel(network.spec, network.weights), network)


@pytest.mark.parametrize("kind", [StatefulModel, PagedModel])
def test_the_engine_computes_what_transformers_does(
    network: Network, engine_file: Path, kind: Callable[[Path], Model]
) -> None:
    check_parity(kind(engine_file), network)


def test_a_gpt2_body_saved_without_its_head_is_the_whole_network(tmp_path: Path) -> None:
    network = make_network(tmp_path / "whole", gpt2(), kind=GPT2LMHeadModel)
    network.oracle.transformer.save_pretrained(tmp_path / "body")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "body" / name)
    body = open_checkpoint(tmp_path / "body")
    assert "wte.weight" in SafetensorsWeights(find_weight_files(tmp_path / "body")).names()
    check_parity(PagedModel(compiled(tmp_path, decoder_spec(body.config), body.weights)), network)


@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("name", ["llama-80-biases", "llama-16-mha-tied", "gpt2-64-relu"])
def test_rounded_weights_compute_what_transformers_does_with_them(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    kind, config = NETWORKS[name]
    network = make_network(tmp_path / "checkpoint", config, kind=kind)
    path = compiled(tmp_path, network.spec, network.weights, precision=precision)
    reference = ReferenceModel(network.spec, network.weights, precision=precision)
    with pytest.raises(AssertionError, match="logits differ"):
        check_parity(PagedModel(path), network)
    round_weights(network.oracle, precision)
    check_parity(reference, network)
    check_parity(PagedModel(path), network)
    check_parity(StatefulModel(path), network)


def round_weights(oracle: Any, precision: Precision) -> None:
    """Let transformers' network compute with what is left of its matrices."""
    modules = [m for m in oracle.modules() if isinstance(getattr(m, "weight", None), Parameter)]
    parameters = {id(m.weight): m for m in modules if m.weight.ndim == 2}
    with torch.no_grad():
        for module in parameters.values():
            if precision == "bf16":
                module.weight.copy_(module.weight.bfloat16().float())
                continue
            inner = 0 if type(module).__name__ == "Conv1D" else 1
            scale = module.weight.abs().amax(dim=inner, keepdim=True) / 127
            module.weight.copy_(torch.round(module.weight / scale) * scale)
