"""Encoders compute what transformers computes, packed with others or alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from encoder_networks import CONFIGS, VOCABULARY, write_encoder, write_modules
from llmasos.openvino_import import ov
from llmasos_builder.architectures import network_of
from llmasos_builder.architectures.tensor_reader import TensorReader
from llmasos_builder.architectures.tensors import check_tensors
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.graph.reference import ReferenceGraph
from llmasos_builder.openvino.compile import compile_openvino
from llmasos_runtime.encoding.packing import pack_texts
from llmasos_runtime.encoding.request import Tokens
from numpy.typing import NDArray

LENGTHS = (7, 1, 30, 13)
Rows = list[NDArray[np.float64]]


def texts(*, num_types: int) -> list[Tokens]:
    rng = np.random.default_rng(3)
    found = []
    for length in LENGTHS:
        ids = rng.integers(5, VOCABULARY, length).tolist()
        types = [0] * length if num_types < 2 else [int(i > length // 2) for i in range(length)]
        found.append(Tokens(token_ids=ids, type_ids=types, selected=[0, length // 2, length - 1]))
    return found


def of_transformers(network: Any, suffix: str, given: list[Tokens]) -> Rows:
    """The rows of each text alone: the mean of its tokens, its logits, or those of its tokens."""
    rows = []
    for text in given:
        inputs = {"input_ids": torch.tensor([list(text.token_ids)])}
        if "type_vocab_size" in network.config.to_dict() and network.config.type_vocab_size > 1:
            inputs["token_type_ids"] = torch.tensor([list(text.type_ids)])
        with torch.no_grad():
            found = network(**inputs)
        if suffix == "Model":
            rows.append(found.last_hidden_state[0].mean(0, keepdim=True).double().numpy())
        elif suffix == "ForMaskedLM":
            rows.append(found.logits[0][list(text.selected)].double().numpy())
        elif suffix == "ForTokenClassification":
            rows.append(found.logits[0].double().numpy())
        else:
            rows.append(found.logits.double().numpy())
    return rows


def of_openvino(directory: Path, output: Path, given: list[Tokens]) -> NDArray[np.float32]:
    checkpoint = open_checkpoint(directory)
    network = network_of(checkpoint.config)
    compile_openvino(
        network,
        checkpoint.weights,
        precision="f32",
        output=output / "model.xml",
        progress=lambda done, total: None,
    )
    compiled = ov.Core().compile_model(
        str(output / "model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    inputs = pack_texts(given)
    result: NDArray[np.float32] = compiled(
        {p.any_name: inputs[p.any_name] for p in compiled.inputs}
    )[0]
    return result


def of_reference(directory: Path, text: Tokens) -> NDArray[np.float64]:
    checkpoint = open_checkpoint(directory)
    network = network_of(checkpoint.config)
    ids = np.array([text.token_ids], np.int64)
    graph = ReferenceGraph(ids, token_types=np.array([text.type_ids], np.int64))
    steps = len(check_tensors(network, checkpoint.weights))
    reader = TensorReader(checkpoint.weights, lambda done, total: None, num_steps=steps)
    network.define(graph, reader, precision="f32")
    return graph.logits


CASES: list[tuple[str, str, dict[str, Any]]] = [
    (family, suffix, {})
    for family in CONFIGS
    for suffix in ("Model", "ForSequenceClassification", "ForTokenClassification", "ForMaskedLM")
] + [
    ("Bert", "ForSequenceClassification", {"num_labels": 1, "hidden_act": "relu"}),
    ("Roberta", "ForMaskedLM", {"tie_word_embeddings": False}),
    ("ModernBert", "ForSequenceClassification", {"classifier_pooling": "mean", "num_labels": 5}),
    ("ModernBert", "Model", {"norm_bias": True, "attention_bias": True, "mlp_bias": True}),
    ("ModernBert", "Model", {"global_attn_every_n_layers": 1}),
]


@pytest.mark.parametrize(("family", "suffix", "changes"), CASES)
def test_packed_texts_have_the_values_of_transformers(
    tmp_path: Path, family: str, suffix: str, changes: dict[str, Any]
) -> None:
    network = write_encoder(tmp_path / "checkpoint", family, suffix, **changes)
    num_types = network.config.to_dict().get("type_vocab_size") or 1
    given = texts(num_types=num_types)
    expected = np.concatenate(of_transformers(network, suffix, given))
    found = of_openvino(tmp_path / "checkpoint", tmp_path, given)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("family", CONFIGS)
def test_the_reference_has_the_values_of_transformers(tmp_path: Path, family: str) -> None:
    network = write_encoder(tmp_path, family, "ForTokenClassification")
    num_types = network.config.to_dict().get("type_vocab_size") or 1
    given = texts(num_types=num_types)[2:]
    for text, expected in zip(
        given, of_transformers(network, "ForTokenClassification", given), strict=True
    ):
        found = of_reference(tmp_path, text)[0]
        np.testing.assert_allclose(found, expected, atol=3e-5 * np.abs(expected).max())


@pytest.mark.parametrize("family", CONFIGS)
def test_a_masked_language_model_with_modules_embeds(family: str, tmp_path: Path) -> None:
    network = write_encoder(tmp_path / "checkpoint", family, "ForMaskedLM")
    write_modules(tmp_path / "checkpoint", pooling="mean_tokens", normalize=False)
    given = texts(num_types=1)
    body = getattr(network, network.base_model_prefix)
    expected = np.concatenate(of_transformers(body, "Model", given))
    found = of_openvino(tmp_path / "checkpoint", tmp_path, given)
    np.testing.assert_allclose(found, expected, atol=2e-4)
