"""What the decoder of an encoder-decoder begins with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from llmasos.engine.encoder_decoder_record import EncoderDecoderRecord
from llmasos.engine.plan import EnginePlan, Limits
from llmasos.errors import CheckpointError, InvalidRequestError, UnsupportedFieldError
from llmasos.generation_config import GenerationConfig
from llmasos.sampling import SamplingParams
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.engine.admission import completed
from llmasos_runtime.engine.decoder_prompt import with_decoder_prompt
from llmasos_runtime.sampling.grammar import Grammars
from llmasos_runtime.sequences.request import Request

LIMITS = Limits(max_seq_len=8)
TEXT = (5, 6, 7)


def plan(**record: Any) -> EnginePlan:
    made = EncoderDecoderRecord(**{"decoder_start_token_id": 2, **record})
    return cast("EnginePlan", SimpleNamespace(encoder_decoder=made, vocab_size=50, name="made"))


def begun(of: EnginePlan, *decoder: int, text: tuple[int, ...] = TEXT, task: str = "") -> Request:
    request = Request(
        request_id="a",
        prompt_token_ids=text,
        params=SamplingParams(),
        decoder_token_ids=decoder,
        task=task,
    )
    return with_decoder_prompt(request, of, LIMITS)


@pytest.mark.parametrize(
    ("record", "decoder", "expected", "num_forced"),
    [
        ({}, (), (2,), 0),
        ({"forced_bos_token_id": 9}, (), (2, 9), 1),
        ({"forced_bos_token_id": 9}, (3,), (3, 9), 0),
        ({"forced_bos_token_id": 9}, (2, 4), (2, 4), 1),
        ({}, (2, 4, 6), (2, 4, 6), 0),
    ],
)
def test_a_forced_token_follows_the_first_one_alone(
    record: dict[str, int],
    decoder: tuple[int, ...],
    expected: tuple[int, ...],
    num_forced: int,
) -> None:
    found = begun(plan(**record), *decoder)
    assert (found.prompt_token_ids, found.encoder_token_ids) == (expected, TEXT)
    assert found.num_forced_tokens == num_forced


def test_a_language_is_asked_for_where_it_begins_the_answer() -> None:
    with pytest.raises(InvalidRequestError, match="target_language must be given"):
        begun(plan(decoder_start_token_id=None))
    assert begun(plan(decoder_start_token_id=None), 7).prompt_token_ids == (7,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ((), "the prompt is empty"),
        (tuple(range(8)), "the prompt has 8 tokens, at most 7 fit"),
        ((1, 50), "the prompt holds token 50, token ids are between 0 and 49"),
    ],
)
def test_a_text_that_the_encoder_cannot_take_is_refused(
    text: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        begun(plan(), text=text)


def test_a_task_is_one_of_the_models() -> None:
    tasks: dict[str, dict[str, Any]] = {"summarization": {"num_beams": 4}}
    assert begun(plan(tasks=tasks), task="summarization").task == "summarization"
    with pytest.raises(InvalidRequestError, match="which are summarization, got 'x'"):
        begun(plan(tasks=tasks), task="x")


def test_a_decoder_alone_takes_none_of_it() -> None:
    alone = cast("EnginePlan", SimpleNamespace(encoder_decoder=None, name="made"))
    assert begun(alone).prompt_token_ids == TEXT
    with pytest.raises(UnsupportedFieldError, match="decoder_input_ids is for encoder-decoders"):
        begun(alone, 1)
    with pytest.raises(UnsupportedFieldError, match="task is for encoder-decoders"):
        begun(alone, task="x")


def test_the_record_reads_the_generation_config_first() -> None:
    config = {"decoder_start_token_id": 1, "forced_eos_token_id": 4}
    record = EncoderDecoderRecord.of_config(config, {"decoder_start_token_id": 3}, vocab_size=9)
    assert (record.decoder_start_token_id, record.forced_eos_token_id) == (3, 4)
    assert EncoderDecoderRecord.of_config({"bos_token_id": 5}, {}, vocab_size=9) == (
        EncoderDecoderRecord(decoder_start_token_id=5)
    )
    with pytest.raises(CheckpointError, match="forced_bos_token_id must be a token"):
        EncoderDecoderRecord.of_config({"forced_bos_token_id": 9}, {}, vocab_size=9)


def test_tokens_of_the_generation_config_join_those_of_the_request() -> None:
    request = Request(
        request_id="a", prompt_token_ids=(1,), params=SamplingParams(), bad_words=((4, 5),)
    )
    config = GenerationConfig(bad_words=((7,),), forced_eos_token_id=3)
    tokenizer = cast("Tokenizer", SimpleNamespace(special_tokens={}))
    found = completed(request, config, tokenizer, cast("Grammars", None))
    assert (found.bad_words, found.forced_eos_token_id) == (((4, 5), (7,)), 3)
