"""Windows of calibration text, and the reference network over all of them at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.architectures import network_of
from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.compression.calibration import CalibrationOptions, calibration_windows
from llmasos_builder.compression.streaming import stream
from llmasos_builder.graph import Array
from llmasos_builder.graph.reference import ReferenceGraph
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tiny import write_tiny_gemma2, write_tiny_llama

WINDOWS = np.random.default_rng(0).integers(0, 256, (3, 20))


def windows_of(
    directory: Path, content: str, *, suffix: str = ".txt", **options: Any
) -> NDArray[np.int64]:
    dataset = directory / f"dataset{suffix}"
    dataset.write_text(content)
    tokenizer = Tokenizer.load(write_tiny_llama(directory / "tiny"))
    return calibration_windows(tokenizer, CalibrationOptions(dataset=dataset, **options))


def text_of(directory: Path, windows: NDArray[np.int64]) -> list[str]:
    tokenizer = Tokenizer.load(directory / "tiny")
    return [tokenizer.decode(row.tolist(), skip_special_tokens=False) for row in windows]


def test_windows_come_from_everywhere_in_a_text(tmp_path: Path) -> None:
    windows = windows_of(tmp_path, "abcdefghijklmnop", samples=2, seq_length=4)
    assert text_of(tmp_path, windows) == ["abcd", "ijkl"]


def test_json_lines_are_texts_and_conversations(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    lines = f"{json.dumps({'text': 'abc'})}\n\n{json.dumps(chat)}\n"
    windows = windows_of(tmp_path, lines, suffix=".jsonl", samples=1, seq_length=13)
    assert text_of(tmp_path, windows) == ["abc<|im_start|>user\nhi<|im_end|>\n"]


def test_a_text_comes_along(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_tiny_llama(tmp_path))
    windows = calibration_windows(tokenizer, CalibrationOptions(samples=7, seq_length=100))
    assert windows.shape == (7, 100) and len(np.unique(windows)) > 40


@pytest.mark.parametrize(
    ("content", "suffix", "expected"),
    [
        ("", ".txt", r"dataset\.txt is empty"),
        ("abc", ".txt", r"has 3 tokens, 2 samples of 4 need 8"),
        ('{"text": "a"}\n{"text": 1}', ".jsonl", r"line 2 is no object with `text` or `messages`"),
        ("{", ".jsonl", r"line 1 is not JSON"),
    ],
)
def test_a_bad_dataset_is_refused_by_name(
    tmp_path: Path, content: str, suffix: str, expected: str
) -> None:
    with pytest.raises(InvalidRequestError, match=expected):
        windows_of(tmp_path, content, suffix=suffix, samples=2, seq_length=4)


def test_a_missing_dataset_and_no_samples_are_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_tiny_llama(tmp_path))
    with pytest.raises(InvalidRequestError, match=r"none\.txt does not exist"):
        calibration_windows(tokenizer, CalibrationOptions(dataset=tmp_path / "none.txt"))
    with pytest.raises(InvalidRequestError, match="samples is 0, must be at least 1"):
        CalibrationOptions(samples=0)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_all_windows_at_once_are_what_each_is_alone(tmp_path: Path, family: str) -> None:
    directory = (
        write_tiny_llama(tmp_path) if family == "llama" else write_tiny_gemma2(tmp_path, cap=0.5)
    )
    checkpoint = open_checkpoint(directory)
    network = network_of(checkpoint.config)
    streamed = stream(network, checkpoint.weights, WINDOWS)
    for index, window in enumerate(WINDOWS):
        alone = ReferenceGraph(window[None])
        network.define(alone, lambda n, _: load_tensor(checkpoint.weights, n), precision="f32")
        np.testing.assert_allclose(streamed.logits_of(index), alone.logits[0], atol=2e-4)


def test_an_observer_sees_the_inputs_and_may_replace_the_matrix(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_tiny_llama(tmp_path))
    seen: dict[str, tuple[int, ...]] = {}

    def silence(name: str, inputs: Array, weight: Array) -> Array:
        seen[name] = inputs.shape
        assert weight.shape[1] == inputs.shape[1]
        return np.zeros_like(weight)

    network = network_of(checkpoint.config)
    streamed = stream(network, checkpoint.weights, WINDOWS, silence)
    assert len(seen) == 2 * 7
    assert seen["model.layers.1.mlp.down_proj.weight"] == (60, 128)
    embedding = load_tensor(checkpoint.weights, "model.embed_tokens.weight")
    norm = load_tensor(checkpoint.weights, "model.norm.weight")
    rows = embedding[WINDOWS]
    rows = rows / np.sqrt(np.mean(rows**2, axis=-1, keepdims=True) + 1e-5) * norm
    np.testing.assert_allclose(streamed.hidden, rows, atol=1e-5)


def test_inputs_that_are_no_numbers_name_their_matrix(tmp_path: Path) -> None:
    directory = write_tiny_llama(tmp_path)
    weights = load_file(directory / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][:] = 3e38
    save_file(weights, directory / "model.safetensors")
    checkpoint = open_checkpoint(directory)
    network = network_of(checkpoint.config)
    with np.errstate(all="ignore"), pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.down"):
        stream(network, checkpoint.weights, WINDOWS, lambda _name, _inputs, weight: weight)


def test_inputs_may_be_seen_by_the_size_of_the_states_that_they_add_to(tmp_path: Path) -> None:
    """Those that a norm gives have that size already."""
    checkpoint = open_checkpoint(write_tiny_llama(tmp_path))
    network = network_of(checkpoint.config)
    seen: dict[bool, dict[str, Array]] = {False: {}, True: {}}
    for relative, found in seen.items():

        def keep(name: str, inputs: Array, weight: Array, found: Any = found) -> Array:
            found[name] = inputs
            return weight

        stream(network, checkpoint.weights, WINDOWS, keep, relative=relative)
    for name, plain in seen[False].items():
        ratios = plain / seen[True][name]
        if "o_proj" in name or "down_proj" in name:
            assert np.allclose(ratios, ratios[:, :1], rtol=1e-4) and np.ptp(ratios[:, 0]) > 0.01
        else:
            assert np.array_equal(ratios, np.ones_like(plain))
    states = load_tensor(checkpoint.weights, "model.embed_tokens.weight")[WINDOWS].reshape(-1, 64)
    name = "model.layers.0.self_attn.o_proj.weight"
    sizes = np.sqrt(np.mean(states**2, axis=1) + 1e-5)
    np.testing.assert_allclose(seen[True][name], seen[False][name] / sizes[:, None], rtol=1e-4)
