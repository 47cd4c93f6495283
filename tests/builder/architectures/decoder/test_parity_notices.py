"""The parity check itself: each way to get a network wrong fails it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from llmasos_builder.graph import Array
from mutations import with_spec, with_weight
from networks import NETWORKS
from openvino_models import StatefulModel
from parity import Ints, Model, Network, PaddedRows, check_parity, compiled
from parity import make_network as make

LLAMA = "llama-80-biases"
GPT2 = "gpt2-16"


class LateRows(PaddedRows):
    """Every step but the first begins one position late."""

    def add(self, rows: object) -> tuple[Ints, Ints]:
        first = not self.mask.size
        ids, positions = super().add(rows)  # type: ignore[arg-type]
        return ids, positions if first else positions + 1


def swap_heads(values: Array) -> Array:
    """Whole heads of 80 rows, in another order."""
    return np.roll(values, 80, axis=0)


def next_row(values: Array) -> Array:
    return np.roll(values, -1, axis=0)


LLAMA_BIASES = [
    *(f"model.layers.1.self_attn.{p}_proj.bias" for p in "qkvo"),
    *(f"model.layers.1.mlp.{p}_proj.bias" for p in ("gate", "up", "down")),
]
GPT2_BIASES = [
    *(f"transformer.h.1.{part}.bias" for part in ("ln_1", "attn.c_attn", "attn.c_proj")),
    *(f"transformer.h.1.{part}.bias" for part in ("ln_2", "mlp.c_fc", "mlp.c_proj")),
    "transformer.ln_f.bias",
]
CHANGES: dict[str, tuple[str, Callable[[Network], Model]]] = {
    "no rotary": (LLAMA, lambda n: with_spec(n, rotary_frequencies=(0.0,) * 40)),
    "other rotary base": (
        LLAMA,
        lambda n: with_spec(n, rotary_frequencies=tuple(f * 1.001 for f in rotary(n))),
    ),
    "swapped query heads": (
        LLAMA,
        partial(with_weight, "model.layers.0.self_attn.q_proj.weight", swap_heads),
    ),
    "swapped value heads": (
        LLAMA,
        partial(with_weight, "model.layers.0.self_attn.v_proj.weight", swap_heads),
    ),
    "learned positions off by one": (
        GPT2,
        partial(with_weight, "transformer.wpe.weight", next_row),
    ),
    "rms norm epsilon": (LLAMA, lambda n: with_spec(n, norm_eps=1e-5)),
    "layer norm epsilon": (GPT2, lambda n: with_spec(n, norm_eps=1e-5)),
    "norm kind": (GPT2, lambda n: with_spec(n, norm="rms")),
    "attention scale": (LLAMA, lambda n: with_spec(n, attention_scales=(0.125, 0.125))),
    "activation": (LLAMA, lambda n: with_spec(n, activation="gelu_tanh")),
    **{f"no {name}": (LLAMA, partial(with_weight, name, np.zeros_like)) for name in LLAMA_BIASES},
    **{f"no {name}": (GPT2, partial(with_weight, name, np.zeros_like)) for name in GPT2_BIASES},
    "norm weight": (
        LLAMA,
        partial(with_weight, "model.layers.0.input_layernorm.weight", np.ones_like),
    ),
}


def rotary(network: Network) -> tuple[float, ...]:
    assert network.spec.rotary_frequencies is not None
    return network.spec.rotary_frequencies


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    made = {}
    for name in (LLAMA, GPT2):
        kind, config = NETWORKS[name]
        made[name] = make(tmp_path_factory.mktemp(name), config, kind=kind)
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_network_fails_the_check(networks: dict[str, Network], change: str) -> None:
    name, changed = CHANGES[change]
    with pytest.raises(AssertionError, match="logits differ"):
        check_parity(changed(networks[name]), networks[name])


@pytest.mark.parametrize("name", [LLAMA, GPT2])
def test_positions_off_by_one_after_the_first_step_fail_the_check(
    networks: dict[str, Network], name: str, tmp_path: Path
) -> None:
    network = networks[name]
    path = compiled(tmp_path, network.spec, network.weights)
    with pytest.raises(AssertionError, match="logits differ"):
        check_parity(StatefulModel(path, LateRows()), network)
