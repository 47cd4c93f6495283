"""Whether a network computes what transformers' network of the same checkpoint computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import needs_torch  # noqa: F401
import numpy as np
import torch
from llmasos.engine.plan import Precision
from llmasos_builder.architectures import (
    Decoder,
    decoder_spec,
    matrices_in_int8,
)
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.checkpoint import Weights, open_checkpoint
from llmasos_builder.graph.reference import Cache, ReferenceGraph
from llmasos_builder.openvino.compile import compile_openvino
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

Logits = NDArray[np.float64]
Ints = NDArray[np.int64]
VOCABULARY = 300
POSITIONS = 64
NEW_TOKENS = 24


@dataclass(frozen=True)
class Network:
    """A random checkpoint, opened, and transformers' network of it."""

    spec: Decoder
    weights: Weights
    oracle: Any

    def logits(self, token_ids: Sequence[int]) -> Logits:
        with torch.no_grad():
            logits: Logits = self.oracle(torch.tensor([token_ids])).logits[0].double().numpy()
        return logits


class Model(Protocol):
    """A network that runs; what it has seen of each row is in its cache."""

    def step(self, rows: Sequence[Sequence[int]]) -> list[Logits]:
        """More tokens of each row (as many as it likes); their logits [tokens, vocabulary]."""
        ...


def make_network(directory: Path, config: Any, *, kind: Any, seed: int = 0) -> Network:
    """transformers saves it, with every bias and norm random, so that none can be dropped."""
    torch.manual_seed(seed)
    oracle = kind(config).eval()
    with torch.no_grad():
        for name, parameter in oracle.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(0.1 * torch.randn(parameter.shape) + name.endswith("weight"))
    oracle.save_pretrained(directory)
    write_empty_tokenizer(directory)
    checkpoint = open_checkpoint(directory)
    return Network(decoder_spec(checkpoint.config), checkpoint.weights, oracle.float())


def write_empty_tokenizer(directory: Path) -> None:
    """A tokenizer that can be opened; no text is read here."""
    special = {"<unk>": 0, "<bos>": 1, "<eos>": 2, "<pad>": 3}  # as Gemma's class needs them
    tokenizer = Tokenizer(models.BPE(vocab=special, merges=[]))
    tokenizer.save(str(directory / "tokenizer.json"))


class PaddedRows:
    """Rows of tokens side by side: padded on the left, and told apart by the mask."""

    def __init__(self) -> None:
        self.mask: Ints = np.zeros((0, 0), np.int64)

    def add(self, rows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
        """input_ids and position_ids [B, S] of the rows' next tokens."""
        longest = max(map(len, rows))
        ids = np.array([[0] * (longest - len(row)) + list(row) for row in rows], np.int64)
        new = np.array([[0] * (longest - len(row)) + [1] * len(row) for row in rows], np.int64)
        self.mask = new if not self.mask.size else np.concatenate([self.mask, new], axis=1)
        positions = np.maximum(np.cumsum(self.mask, axis=1) - 1, 0)[:, -longest:]
        return ids, positions


def unpadded(logits: NDArray[Any], rows: Sequence[Sequence[int]]) -> list[Logits]:
    return [
        own[len(own) - len(row) :].astype(np.float64) for own, row in zip(logits, rows, strict=True)
    ]


class ReferenceModel:
    """The definition, computed by numpy."""

    def __init__(self, spec: Decoder, weights: Weights, *, precision: Precision = "f32") -> None:
        self._spec = spec
        self._weights = weights
        self._precision: Precision = precision
        self._rows = PaddedRows()
        self._cache: Cache = []

    def step(self, rows: Sequence[Sequence[int]]) -> list[Logits]:
        ids, _ = self._rows.add(rows)
        in_int8 = [f"{name}.weight" for name in matrices_in_int8(self._spec)]
        graph = ReferenceGraph(ids, self._rows.mask, self._cache, in_int8=in_int8)
        define_decoder(
            self._spec,
            graph,
            lambda name, _shape: self._weights.load(name),
            precision=self._precision,
        )
        self._cache = graph.cache
        return unpadded(graph.logits, rows)


def compiled(
    directory: Path, spec: Decoder, weights: Weights, *, precision: Precision = "f32"
) -> Path:
    """The engine file of a network."""
    path = directory / "openvino_model.xml"
    compile_openvino(
        spec,
        weights,
        precision=precision,
        output=path,
        progress=lambda done, total: None,
        in_int8=matrices_in_int8(spec),
    )
    return path


def check_parity(model: Model, network: Network, *, tolerance: float = 1e-4) -> None:
    """Fails where a model's logits or greedy tokens are not those of transformers.

    Three rows of different lengths in three uneven steps (POSITIONS tokens at least), then
    greedy tokens one at a time. A token may differ only where the reference itself is as
    good as undecided.
    """
    rows = _random_rows()
    expected = [network.logits(row) for row in rows]
    for begin, end in _uneven_steps(rows):
        actual = model.step([row[a:b] for row, a, b in zip(rows, begin, end, strict=True)])
        for index, (a, b) in enumerate(zip(begin, end, strict=True)):
            _check_logits(actual[index], expected[index][a:b], tolerance)
    last = [own[-1] for own in expected]
    texts: list[list[int]] = [[] for _ in rows]
    for _ in range(NEW_TOKENS):
        for text, own in zip(texts, last, strict=True):
            text.append(int(own.argmax()))
        last = [own[-1] for own in model.step([text[-1:] for text in texts])]
    assert len({token for text in texts for token in text}) >= 20, "too dull a text to tell"
    for row, text in zip(rows, texts, strict=True):
        _check_greedy(text, network.logits(row + text)[len(row) - 1 : -1])


def _random_rows() -> list[list[int]]:
    rng = np.random.default_rng(1)
    lengths = (POSITIONS, POSITIONS + 6, POSITIONS + 35)
    return [rng.integers(0, VOCABULARY, length).tolist() for length in lengths]


def _uneven_steps(rows: list[list[int]]) -> list[tuple[list[int], list[int]]]:
    borders = [[0, 0, 0], [5, 40, 33], [30, 41, 65], [len(row) for row in rows]]
    return [(borders[i], borders[i + 1]) for i in range(3)]


def _check_logits(actual: Logits, expected: Logits, tolerance: float) -> None:
    assert actual.shape == expected.shape
    error = np.abs(actual - expected).max(axis=-1) / np.abs(expected).max(axis=-1)
    assert error.max() < tolerance, f"logits differ by {error.max():.1e}"


def _check_greedy(text: list[int], expected: Logits) -> None:
    best = np.sort(expected, axis=-1)
    for token, own, (second, first) in zip(text, expected, best[:, -2:], strict=True):
        assert token == own.argmax() or first - second <= 1e-3, "another greedy token"
