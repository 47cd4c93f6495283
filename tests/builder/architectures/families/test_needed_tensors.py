"""A checkpoint holds just what its network needs, or is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llmasos.errors import CheckpointError
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.tensors import check_tensors, required_tensors
from llmasos_builder.graph import Array
from llmasos_builder.openvino.compile import compile_openvino
from networks import GPT2, LLAMA

SPECS = {"llama": decoder_spec(LLAMA), "gpt2": decoder_spec(GPT2)}


class MadeWeights:
    """Zeros for what a spec requires, and whatever else is given."""

    def __init__(self, name: str, **changes: Array | None) -> None:
        arrays = {n: np.zeros(s, np.float32) for n, s in required_tensors(SPECS[name]).items()}
        given = {**arrays, **{key.replace("__", "."): value for key, value in changes.items()}}
        self._arrays = {key: value for key, value in given.items() if value is not None}

    def names(self) -> frozenset[str]:
        return frozenset(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._arrays[name].shape

    def load(self, name: str) -> Array:
        return self._arrays[name]


def compile_made(directory: Path, name: str, **changes: Array | None) -> None:
    compile_openvino(
        SPECS[name],
        MadeWeights(name, **changes),
        precision="f32",
        output=directory / "engine.xml",
        progress=lambda done, total: None,
    )


def refusal(directory: Path, name: str, **changes: Array | None) -> str:
    with pytest.raises(CheckpointError) as caught:
        compile_made(directory, name, **changes)
    assert not any(directory.iterdir())
    return str(caught.value)


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def test_a_missing_tensor_is_named_with_its_shape(tmp_path: Path) -> None:
    message = refusal(tmp_path, "llama", model__layers__2__mlp__up_proj__weight=None)
    assert message == (
        "the checkpoint has no tensor model.layers.2.mlp.up_proj.weight, which must have the "
        "shape [96, 64]"
    )


def test_an_untied_head_is_needed(tmp_path: Path) -> None:
    assert "no tensor lm_head.weight" in refusal(tmp_path, "llama", lm_head__weight=None)


def test_a_tensor_of_another_shape_is_named_with_both(tmp_path: Path) -> None:
    wrong = {"transformer__h__1__attn__c_attn__weight": zeros(192, 64)}
    assert refusal(tmp_path, "gpt2", **wrong) == (
        "tensor transformer.h.1.attn.c_attn.weight has the shape [192, 64], [64, 192] expected"
    )


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("llama", "model.layers.0.self_attn.q_proj.bias"),
        ("llama", "model.layers.0.mlp.down_proj.bias"),
        ("llama", "model.layers.0.self_attn.q_norm.weight"),
        ("llama", "model.layers.3.input_layernorm.weight"),
        ("llama", "model.norm.bias"),
        ("llama", "lm_head.bias"),
        ("gpt2", "transformer.h.0.crossattention.c_attn.weight"),
        ("gpt2", "score.weight"),
    ],
)
def test_a_tensor_that_would_be_ignored_is_refused(tmp_path: Path, name: str, extra: str) -> None:
    message = refusal(tmp_path, name, **{extra: zeros(64)})
    assert f"the checkpoint has the tensor {extra}, which the network" in message


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("llama", "model.rotary_emb.inv_freq"),
        ("gpt2", "transformer.h.0.attn.bias"),
        ("gpt2", "transformer.h.2.attn.masked_bias"),
    ],
)
def test_buffers_that_old_checkpoints_hold_are_no_weights(
    tmp_path: Path, name: str, extra: str
) -> None:
    compile_made(tmp_path, name, **{extra: zeros(8)})
    assert (tmp_path / "engine.xml").is_file()


def test_a_tied_head_may_be_stored_twice_but_not_differ(tmp_path: Path) -> None:
    message = refusal(tmp_path, "gpt2", lm_head__weight=np.ones((100, 64), np.float32))
    assert "lm_head.weight differs from transformer.wte.weight" in message
    compile_made(tmp_path, "gpt2", lm_head__weight=zeros(100, 64))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    damaged = zeros(64)
    damaged[5] = value
    message = refusal(tmp_path, "llama", model__norm__weight=damaged)
    assert message == "tensor model.norm.weight holds values that are not finite numbers"


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_size": 1 << 28, "vocab_size": 1 << 28, "num_attention_heads": 1 << 16},
        {"intermediate_size": 1 << 28, "num_attention_heads": 1 << 16, "head_dim": 1 << 16},
        {"num_hidden_layers": 1024},
    ],
)
def test_absurd_sizes_are_told_from_the_tensors(sizes: dict[str, int]) -> None:
    with pytest.raises(CheckpointError, match=r"tensor .* shape"):
        check_tensors(decoder_spec({**LLAMA, **sizes}), MadeWeights("llama"))


def test_a_spec_needs_no_more_than_its_config_says() -> None:
    biased = decoder_spec({**LLAMA, "attention_bias": True, "mlp_bias": True})
    extra = required_tensors(biased).keys() - required_tensors(SPECS["llama"]).keys()
    assert len(extra) == 3 * 7 and all(name.endswith(".bias") for name in extra)
