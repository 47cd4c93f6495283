"""The text that activations are calibrated on, as windows of token ids.

A dataset is a text file; a file of JSON lines, each an object with `text` or with `messages`, which
go through the model's chat template; or, where none is given, what Python says of itself: the
topics of its reference manual, technical English that every installation of Python has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from llmasos.errors import InvalidRequestError
from llmasos.files.regular_file import read_regular
from llmasos.text.chat_options import ChatOptions
from llmasos.text.tokenizer import Tokenizer
from numpy.typing import NDArray

_JSON_LINES = (".jsonl", ".ndjson")
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """dataset: a file; None is the text that comes along. samples: number of windows, of
    seq_length tokens each.

    Raises InvalidRequestError, naming the option and its limit.
    """

    dataset: Path | None = None
    samples: int = 64
    seq_length: int = 512

    def __post_init__(self) -> None:
        for name, value in (("samples", self.samples), ("seq-length", self.seq_length)):
            if value < 1:
                raise InvalidRequestError(f"{name} is {value}, must be at least 1")


def calibration_windows(tokenizer: Tokenizer, options: CalibrationOptions) -> NDArray[np.int64]:
    """Returns token ids [samples, seq_length].

    Texts are laid end to end and cut; where there are more windows than samples, they are taken at
    equal distances, so that they come from everywhere in the dataset.
    Raises InvalidRequestError for a dataset that is missing, malformed or too short.
    """
    name = "the default dataset" if options.dataset is None else f"dataset {options.dataset}"
    ids: list[int] = []
    for piece in _pieces(tokenizer, options.dataset):
        ids += piece
    if not ids:
        raise InvalidRequestError(f"{name} is empty")
    available = len(ids) // options.seq_length
    if available < options.samples:
        raise InvalidRequestError(
            f"{name} has {len(ids)} tokens, {options.samples} samples of {options.seq_length} need "
            f"{options.samples * options.seq_length}",
            hint="give a longer text, or fewer or shorter samples",
        )
    cut = np.array(ids[: available * options.seq_length], np.int64).reshape(available, -1)
    chosen: NDArray[np.int64] = cut[np.arange(options.samples) * available // options.samples]
    return chosen


def _pieces(tokenizer: Tokenizer, dataset: Path | None) -> Iterator[list[int]]:
    """Yields the token ids of each text."""
    if dataset is None:
        for _, text in sorted(topics.items()):
            yield tokenizer.encode(text, add_special_tokens=False)
        return
    content = _read(dataset)
    if dataset.suffix not in _JSON_LINES:
        yield tokenizer.encode(content, add_special_tokens=False)
        return
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            yield _ids_of_line(tokenizer, line, f"dataset {dataset}, line {number}")


def _read(dataset: Path) -> str:
    try:
        content = read_regular(dataset, at_most=_MAX_BYTES, error=InvalidRequestError)
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"dataset {dataset} is not UTF-8 (byte {error.start})") from error


def _ids_of_line(tokenizer: Tokenizer, line: str, where: str) -> list[int]:
    try:
        record: Any = json.loads(line)
    except ValueError as error:
        raise InvalidRequestError(f"{where} is not JSON: {error}") from error
    if isinstance(record, dict) and isinstance(record.get("text"), str):
        return tokenizer.encode(record["text"], add_special_tokens=False)
    if isinstance(record, dict) and isinstance(record.get("messages"), list):
        options = ChatOptions(add_generation_prompt=False)
        return tokenizer.encode_chat(record["messages"], options)
    raise InvalidRequestError(f"{where} is no object with `text` or `messages`")
