"""Every decoder computes what transformers computes: by numpy, with state, and paged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from family_networks import FAMILY_NETWORKS
from llmasos.engine.plan import Precision
from llmasos.openvino_import import ops, ov
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.huggingface.safetensors_weights import (
    SafetensorsWeights,
    find_weight_files,
)
from networks import NETWORKS
from openvino_models import PagedModel, StatefulModel, paged
from parity import Model, Network, ReferenceModel, check_parity, compiled, make_network
from torch.nn import Parameter

WINDOW_INPUT, SLOPES_INPUT = 10, 11  # of PagedAttentionExtension
EVERY_NETWORK = NETWORKS | FAMILY_NETWORKS


@pytest.fixture(scope="module", params=EVERY_NETWORK)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    kind, config = EVERY_NETWORK[request.param]
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


def test_the_engine_becomes_paged_attention_in_every_layer(
    network: Network, engine_file: Path
) -> None:
    kinds = [operation.get_type_name() for operation in paged(engine_file).get_ops()]
    assert kinds.count("PagedAttentionExtension") == network.spec.num_layers
    assert not {"ReadValue", "Assign", "ScaledDotProductAttention"} & set(kinds)


def test_the_engine_keeps_each_layers_window_and_slopes(
    network: Network, engine_file: Path
) -> None:
    """The transformation drops a mask that it does not know, and says nothing."""
    model = paged(engine_file)
    spec, ends = network.spec, []
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "PagedAttentionExtension":
            ends += [operation.input_value(index) for index in (WINDOW_INPUT, SLOPES_INPUT)]
    outputs = ov.Model([ops.result(end) for end in ends], [], "constants")
    values = ov.Core().compile_model(outputs, "CPU")([])
    windows, slopes = ([values[i] for i in range(first, len(ends), 2)] for first in (0, 1))
    assert [int(window) for window in windows] == [
        w or 0 for w in spec.attention_windows or [0] * 2
    ]
    for own in slopes:
        np.testing.assert_allclose(own, spec.attention_slopes or [], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "inside"), [("gpt2-16", "wte.weight"), ("opt-16", "decoder.embed_tokens.weight")]
)
def test_a_body_saved_without_its_head_is_the_whole_network(
    name: str, inside: str, tmp_path: Path
) -> None:
    kind, config = EVERY_NETWORK[name]
    network = make_network(tmp_path / "whole", config, kind=kind)
    network.oracle.base_model.save_pretrained(tmp_path / "body")
    for file in ("config.json", "tokenizer.json"):
        shutil.copy(tmp_path / "whole" / file, tmp_path / "body" / file)
    body = open_checkpoint(tmp_path / "body")
    assert inside in SafetensorsWeights(find_weight_files(tmp_path / "body")).names()
    check_parity(PagedModel(compiled(tmp_path, decoder_spec(body.config), body.weights)), network)


def test_a_pickled_opt_350m_is_the_whole_network(tmp_path: Path) -> None:
    """As it is published: a body's names with a head beside them, in torch's own file."""
    kind, config = EVERY_NETWORK["opt-16-projected-norm-last"]
    network = make_network(tmp_path / "whole", config, kind=kind)
    tensors = network.oracle.state_dict()
    pickled = {name.removeprefix("model."): values.half() for name, values in tensors.items()}
    network.oracle.half().float()
    assert {"decoder.embed_tokens.weight", "lm_head.weight"} <= pickled.keys()
    for file in ("config.json", "tokenizer.json"):
        (tmp_path / "pickled").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "whole" / file, tmp_path / "pickled" / file)
    torch.save(pickled, tmp_path / "pickled" / "pytorch_model.bin")
    opened = open_checkpoint(tmp_path / "pickled")
    path = compiled(tmp_path, decoder_spec(opened.config), opened.weights)
    check_parity(PagedModel(path), network)


ROUNDED = [
    "llama-80-biases",
    "llama-16-mha-tied",
    "gpt2-64-relu",
    "opt-16",
    "gpt_neox-16",
    "gemma-32-gqa-tied",
]


@pytest.mark.parametrize("precision", ["int8", "int4", "bf16"])
@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_weights_compute_what_transformers_does_with_them(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    kind, config = EVERY_NETWORK[name]
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
    parameters = {id(m.weight): m for m in reversed(modules) if m.weight.ndim == 2}
    with torch.no_grad():
        for module in parameters.values():
            if precision == "bf16":
                module.weight.copy_(module.weight.bfloat16().float())
                continue
            inner = 0 if type(module).__name__ == "Conv1D" else 1
            divides = module.weight.shape[inner] % 32 == 0
            if precision == "int4" and divides and not isinstance(module, torch.nn.Embedding):
                rows = module.weight if inner else module.weight.T
                left = in_groups_of_int4(rows.clone())
                rows.copy_(left)
                continue
            scale = module.weight.abs().amax(dim=inner, keepdim=True) / 127
            module.weight.copy_(torch.round(module.weight / scale) * scale)


def in_groups_of_int4(rows: torch.Tensor) -> torch.Tensor:
    """What is left of a matrix [out, in]."""
    size = next(size for size in (128, 64, 32) if rows.shape[1] % size == 0)
    groups = rows.reshape(-1, size)
    extremes = groups.gather(1, groups.abs().argmax(dim=1, keepdim=True))
    choices = []
    for shrink in (1, 0.95, 0.9, 0.85, 0.8):
        scales = extremes * shrink / -8
        choices.append(torch.round(groups / scales).clamp(-8, 7) * scales)
    costs = [((left - groups) ** 2 * groups.abs()).sum(dim=1) for left in choices]
    best = torch.stack(costs).argmin(dim=0)
    return torch.stack(choices)[best, torch.arange(len(groups))].reshape(rows.shape)
