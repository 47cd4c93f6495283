"""Scores with a soft cap are what transformers' eager attention computes, over KV blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from family_networks import SOFT_CAPPED_NETWORKS
from llmasos.openvino_import import ov
from mutations import with_spec
from openvino_models import LoadedModel, StatefulModel
from parity import Network, ReferenceModel, check_parity, compiled, make_network


@pytest.fixture(scope="module", params=SOFT_CAPPED_NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    kind, config = SOFT_CAPPED_NETWORKS[request.param]
    return make_network(tmp_path_factory.mktemp(request.param), config, kind=kind)


def loaded(directory: Path, network: Network, **changes: Any) -> LoadedModel:
    """The engine of the network, or of another that only its spec tells from it."""
    spec = replace(network.spec, **changes)
    return LoadedModel(compiled(directory, spec, network.weights), spec)


def test_the_definition_computes_what_transformers_does(network: Network) -> None:
    check_parity(ReferenceModel(network.spec, network.weights), network)
    with pytest.raises(AssertionError, match="logits differ"):
        check_parity(with_spec(network, attention_cap=None), network)


def test_the_engine_computes_what_transformers_does(network: Network, tmp_path: Path) -> None:
    model = loaded(tmp_path, network)
    assert model.gathers
    check_parity(model, network)
    check_parity(StatefulModel(tmp_path / "openvino_model.xml"), network)


def test_the_engine_of_a_wrong_network_does_not(network: Network, tmp_path: Path) -> None:
    windows = network.spec.attention_windows
    wrong: dict[str, dict[str, Any]] = {
        "no cap": {"attention_cap": None},
        "another cap": {"attention_cap": 1.01},
    }
    if windows is not None:
        wrong |= {
            "a wider window": {"attention_windows": tuple(w and w + 1 for w in windows)},
            "no window": {"attention_windows": None},
            "the other layers' windows": {"attention_windows": windows[::-1]},
        }
    for name, changes in wrong.items():
        (tmp_path / name).mkdir()
        model = loaded(tmp_path / name, network, **changes)
        assert model.gathers == (name != "no cap")
        with pytest.raises(AssertionError, match="logits differ"):
            check_parity(model, network)


def test_the_file_stays_one_that_other_tools_load(network: Network, tmp_path: Path) -> None:
    model = ov.Core().read_model(compiled(tmp_path, network.spec, network.weights))
    names = {name for port in model.inputs for name in port.names}
    assert names == {"input_ids", "attention_mask", "position_ids", "beam_idx"}
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert kinds.count("ReadValue") == kinds.count("Assign") == 2 * network.spec.num_layers
