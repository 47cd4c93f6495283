"""The classic tensors of a prompt, compared with the tokenizer itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from fake_backend import FakeBackend, FakeError, FakeRequest, FakeResponse, FakeTensor
from llmasos.contract.classic_text_models import PREPROCESSING_OUTPUTS
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.triton import tokenizer_model
from llmasos_runtime.triton.detokenizer_model import DetokenizerModel
from llmasos_runtime.triton.preprocessing_model import PreprocessingModel, TokenizerModel

OUTPUTS = tuple(tensor.name for tensor in PREPROCESSING_OUTPUTS)
VOCAB_SIZE, END = 1000, 7


@dataclass
class Asked:
    """What `preprocessing` asks of `tokenizer`, which runs in the same process here."""

    model_name: str
    requested_output_names: Sequence[str]
    inputs: Sequence[FakeTensor]
    tokenizer: ClassVar[Tokenizer]

    def exec(self) -> Any:
        assert self.model_name == "tokenizer"
        model = tokenizer_model.TokenizerModel(FakeBackend, self.tokenizer, max_seq_len=512)
        request = FakeRequest({tensor.name(): tensor.as_numpy() for tensor in self.inputs})
        model.execute([request])
        model.close()
        (response,) = request.sender.responses
        error = response.error
        said = None if error is None else f"[{error.kind.code}] {error.message}"
        ids = response.values.get("input_ids")
        return SimpleNamespace(
            has_error=lambda: error is not None,
            error=lambda: SimpleNamespace(message=lambda: said),
            output_tensors=lambda: [FakeTensor("input_ids", ids)] if ids is not None else [],
        )


class Backend(FakeBackend):
    InferenceRequest = Asked  # type: ignore[assignment]  # it is answered


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    Asked.tokenizer = Tokenizer.load(tiny_llama)
    return Asked.tokenizer


def ask(tokenizer: Tokenizer, *texts: str, **more: Any) -> FakeResponse:
    del tokenizer  # it is what Asked has
    model = PreprocessingModel(Backend, TokenizerModel(Backend), vocab_size=VOCAB_SIZE, end_id=END)
    given = {
        "QUERY": strings([[text] for text in texts]),
        "REQUEST_OUTPUT_LEN": np.full((len(texts), 1), 9, np.int32),
        **more,
    }
    (response,) = model.execute([FakeRequest(given, outputs=OUTPUTS)])
    assert isinstance(response, FakeResponse)
    return response


def strings(rows: list[list[str]]) -> Any:
    return np.array([[text.encode() for text in row] for row in rows], object)


def test_rows_become_ids_filled_up_behind(tokenizer: Tokenizer) -> None:
    values = ask(tokenizer, "hi ☃", "a").values
    rows = [tokenizer.encode("hi ☃"), tokenizer.encode("a")]
    assert values["REQUEST_INPUT_LEN"].tolist() == [[len(row)] for row in rows]
    filled = rows[1] + [END] * (len(rows[0]) - len(rows[1]))
    assert values["INPUT_ID"].tolist() == [rows[0], filled]
    assert values["INPUT_ID"].dtype == np.int32
    assert values["OUT_PROMPT_TABLE_EXTRA_IDS"].dtype == np.uint64
    assert values["REQUEST_OUTPUT_LEN"].tolist() == [[9], [9]]
    assert values["OUT_END_ID"].tolist() == values["OUT_PAD_ID"].tolist() == [[END], [END]]
    assert values["DECODER_INPUT_ID"].tolist() == [[END], [END]]
    assert values["REQUEST_DECODER_INPUT_LEN"].tolist() == [[1], [1]]
    assert values["BAD_WORDS_IDS"].shape == values["STOP_WORDS_IDS"].shape == (2, 2, 0)
    assert values["EMBEDDING_BIAS"].shape == (2, 0)


def test_words_are_ids_in_row_0_and_their_ends_in_row_1(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.encode(word, add_special_tokens=False) for word in ("ab", "c")]
    values = ask(tokenizer, "x", STOP_WORDS_DICT=strings([["ab", "c", ""]])).values
    flat = ids[0] + ids[1]
    ends = [len(ids[0]), len(flat)]
    assert values["STOP_WORDS_IDS"].tolist() == [[flat, ends + [-1] * (len(flat) - 2)]]


def test_weights_of_words_are_added_to_their_tokens(tokenizer: Tokenizer) -> None:
    words = {"EMBEDDING_BIAS_WORDS": strings([["a", "b"]])}
    weights = {"EMBEDDING_BIAS_WEIGHTS": np.array([[1.5, -2.0]], np.float32)}
    (bias,) = ask(tokenizer, "x", **words, **weights).values["EMBEDDING_BIAS"]
    expected = np.zeros(VOCAB_SIZE, np.float32)
    for word, weight in (("a", 1.5), ("b", -2.0)):
        expected[tokenizer.encode(word, add_special_tokens=False)] += weight
    assert bias.tolist() == expected.tolist()
    error = ask(tokenizer, "x", **words).error
    assert error is not None
    assert "must be as many, got 2 and 0" in error.message


def test_what_is_refused_is_refused_by_its_name(tokenizer: Tokenizer) -> None:
    for more, message in (
        ({"IMAGE_URL": strings([["x"]])}, "IMAGE_URL is not supported yet"),
        ({"PROMPT_TABLE_EXTRA_ID": np.array([[3]], np.uint64)}, "PROMPT_TABLE_EXTRA_ID is not"),
        ({"QUERY": strings([[""]])}, "text_input is empty"),
    ):
        error = ask(tokenizer, "x", **more).error
        assert error is not None
        assert message in error.message
        assert error.code == FakeError.INVALID_ARG


def test_postprocessing_decodes_each_beam_of_each_row(tokenizer: Tokenizer) -> None:
    model = DetokenizerModel(FakeBackend, tokenizer)
    rows = [tokenizer.encode(text, add_special_tokens=False) for text in ("hi", "☃ ab")]
    longest = max(map(len, rows))
    tokens = np.array([[row + [-1] * (longest - len(row)) for row in rows]], np.int32)
    given = {"TOKENS_BATCH": tokens, "SEQUENCE_LENGTH": np.array([[1, longest]], np.int32)}
    decoded, broken = model.execute([FakeRequest(given), FakeRequest({})])
    assert isinstance(decoded, FakeResponse) and isinstance(broken, FakeResponse)
    assert [text.decode() for text in decoded.values["text_output"]] == [
        tokenizer.decode(rows[0][:1]),
        tokenizer.decode(rows[1]),
    ]
    assert broken.error is not None
