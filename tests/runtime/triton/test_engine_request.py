"""How the engine model reads the classic tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fake_backend import tensor
from llmasos.errors import InvalidRequestError, UnsupportedFieldError
from llmasos.guide import Guide
from llmasos.sampling import SamplingParams
from llmasos_runtime.triton.engine_request import (
    ENGINE_TABLE,
    ENSEMBLE_TABLE,
    EngineRequest,
    read_request,
)
from llmasos_runtime.triton.fields import Fields


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(i) for i in ids if i >= 32)


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def read(from_ensemble: bool = False, **inputs: Any) -> EngineRequest:
    values: dict[str, Any] = {
        "input_ids": [65, 66, 67],
        "input_lengths": 3,
        "request_output_len": 5,
        **inputs,
    }
    if from_ensemble:
        values["from_ensemble"] = True
    fields = Fields({name: tensor(value) for name, value in values.items()}, ENGINE_TABLE)
    if from_ensemble:
        fields = fields.seen_as(ENSEMBLE_TABLE)
    return read_request(
        fields,
        request_id="7",
        decode=decode,
        encode=encode,
        eos_token_ids=(2,),
        max_seq_len=512,
        default_deadline_ms=600_000,
    )


def params(**inputs: Any) -> SamplingParams:
    return read(**inputs).request.params


def refusal(**inputs: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        read(**inputs)
    return str(caught.value)


def test_the_least_request_is_greedy_and_answered_once_with_its_prompt() -> None:
    wanted = read()
    assert wanted.request.prompt_token_ids == (65, 66, 67)
    assert wanted.request.params == SamplingParams(max_tokens=5, deadline_ms=600_000)
    assert (wanted.streams, wanted.request.echo) == (False, True)


def test_padding_behind_the_prompt_is_cut() -> None:
    assert read(input_lengths=2).request.prompt_token_ids == (65, 66)
    assert refusal(input_lengths=4) == (
        "input_lengths must be between 0 and the 3 tokens of input_ids, got 4"
    )


def test_streams_leave_the_prompt_out_and_single_answers_unless_they_are_told() -> None:
    assert not read(streaming=True).request.echo
    assert not read(streaming=True, exclude_input_in_output=False).request.echo
    assert read().request.echo
    assert not read(exclude_input_in_output=True).request.echo


@pytest.mark.parametrize(
    ("inputs", "temperature"),
    [
        ({}, 0.0),
        ({"runtime_top_k": 1}, 0.0),
        ({"runtime_top_k": 1, "temperature": 0.8}, 0.0),
        ({"runtime_top_k": 40}, 1.0),
        ({"runtime_top_p": 0.9}, 1.0),
        ({"min_p": 0.1}, 1.0),
        ({"temperature": 0.5}, 0.5),
        ({"temperature": 0.0, "runtime_top_p": 0.9}, 0.0),
        ({"runtime_top_p": 0.0}, 0.0),
    ],
)
def test_without_a_temperature_it_is_greedy_until_a_choice_is_asked_for(
    inputs: dict[str, Any], temperature: float
) -> None:
    assert params(**inputs).temperature == temperature


@pytest.mark.parametrize("from_ensemble", [False, True])
def test_a_top_p_of_0_is_absent(from_ensemble: bool) -> None:
    for top_p in (0.0, -1.0):
        said = params(runtime_top_p=top_p, temperature=1.0, from_ensemble=from_ensemble)
        assert said.top_p == 1.0


def test_older_names_of_inputs_say_the_same() -> None:
    said = params(random_seed=7, min_length=2)
    assert (said.seed, said.min_tokens) == (7, 2)
    assert params(random_seed=7, seed=7).seed == 7


def test_two_names_of_an_input_must_not_contradict_each_other() -> None:
    assert refusal(random_seed=7, seed=8) == (
        "seed 8 and random_seed 7 contradict each other: they are one parameter"
    )


@pytest.mark.parametrize(
    ("inputs", "engine_says", "ensemble_says"),
    [
        ({"request_output_len": 0}, "request_output_len must be", "max_tokens must be"),
        ({"request_output_len": -1}, "request_output_len must be", "max_tokens must be"),
        ({"runtime_top_p": 2.0}, "runtime_top_p must be", "top_p must be"),
        ({"runtime_top_k": -3}, "runtime_top_k must be", "top_k must be"),
        ({"temperature": math.nan}, "temperature must be", "temperature must be"),
        ({"min_tokens": 9}, "min_tokens must be between 0 and 5, got 9", "min_tokens must be"),
        ({"min_p": 2.0}, "min_p must be", "min_p must be"),
        ({"len_penalty": 200.0}, "len_penalty must be between -100.0", "length_penalty must be"),
        ({"beam_width": 65}, "beam_width must be between 1 and 64, got 65", "beam_width must be"),
        (
            {"beam_search_diversity_rate": 1.2},
            "beam_search_diversity_rate is not supported yet: got 1.2,",
            "beam_search_diversity_rate is",
        ),
    ],
)
def test_errors_name_the_field_that_the_client_sent(
    inputs: dict[str, Any], engine_says: str, ensemble_says: str
) -> None:
    assert refusal(**inputs).startswith(engine_says)
    assert refusal(from_ensemble=True, **inputs).startswith(ensemble_says)


@pytest.mark.parametrize(
    "inputs",
    [
        {"beam_width": 1},
        {"repetition_penalty": 1.0},
        {"presence_penalty": 0.0},
        {"return_log_probs": False},
        {"embedding_bias": [0.0, 0.0]},
        {"bad_words_list": np.zeros((2, 0), np.int32)},
        {"bad_words_list": np.array([[0, 0], [-1, -1]], np.int32)},
        {"guided_decoding_guide": ""},
        {"prompt_vocab_size": 0},
    ],
)
def test_neutral_values_of_classic_fields_are_accepted(inputs: dict[str, Any]) -> None:
    assert read(**inputs).request.params.max_tokens == 5


def test_penalties_are_read_as_the_client_wrote_them() -> None:
    wanted = params(repetition_penalty=1.1, presence_penalty=-0.3, frequency_penalty=0.7)
    assert wanted.logit_changes == {
        "repetition_penalty": 1.1,
        "presence_penalty": -0.3,
        "frequency_penalty": 0.7,
    }
    assert wanted.temperature == 0.0, "a penalty alone asks for no choice"
    assert refusal(from_ensemble=True, presence_penalty=3.0) == (
        "presence_penalty must be between -2.0 and 2.0, got 3.0"
    )


@pytest.mark.parametrize(
    "inputs",
    [
        {"return_context_logits": True},
        {"lora_task_id": 3},
        {"beam_search_diversity_rate": 0.1},
        {"cross_attention_mask": [True]},
    ],
)
def test_any_other_value_is_refused_by_name(inputs: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFieldError, match=next(iter(inputs))):
        read(**inputs)


def test_beams_are_searched_without_a_choice_whatever_asks_for_one() -> None:
    asked = {"runtime_top_k": 40, "runtime_top_p": 0.9, "temperature": 1.0, "len_penalty": 0.5}
    wanted = params(beam_width=3, early_stopping=True, **asked)
    assert (wanted.beam_width, wanted.length_penalty, wanted.early_stopping) == (3, 0.5, True)
    assert (wanted.temperature, wanted.top_k, wanted.top_p) == (0.0, 0, 1.0)
    assert params(beam_width=0, temperature=1.0, runtime_top_k=40).temperature == 1.0


def test_a_number_is_the_one_that_the_client_wrote() -> None:
    wanted = params(temperature=0.7, runtime_top_p=0.9, min_p=0.05)
    assert (wanted.temperature, wanted.top_p, wanted.min_p) == (0.7, 0.9, 0.05)


def test_an_end_id_replaces_the_models_own() -> None:
    same = params(end_id=2)
    assert (same.ignore_eos, same.stop_token_ids) == (False, ())
    other = params(end_id=9)
    assert (other.ignore_eos, other.stop_token_ids) == (True, (9,))
    never = params(end_id=-1)
    assert (never.ignore_eos, never.stop_token_ids) == (True, ())


def test_listed_stop_words_of_one_token_match_the_token_and_longer_ones_their_text() -> None:
    words = np.array([[10, 72, 105, 0], [1, 3, -1, -1]], np.int32)
    stops = params(stop_words_list=words, stop_text=["END", ""])
    assert stops.stop_token_ids == (10,)
    assert stops.stop == ("END", "Hi")


def test_stop_token_ids_are_read() -> None:
    assert params(stop_token_ids=np.array([5, 7], np.int32)).stop_token_ids == (5, 7)
    assert "stop_token_ids must be between 0" in refusal(stop_token_ids=-1)
    assert "holds 5000 tokens, at most 4096" in refusal(stop_token_ids=np.zeros(5000, np.int32))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([[1, 2], [3, -1]], "the offset 3 must be above 0 and at most 2"),
        ([[1, 2], [2, 1]], "the offset 1 must be above 2"),
        ([[1, 2], [2, -1]], r"holds \[1, 2\], which has no text"),
    ],
)
def test_a_broken_word_list_is_refused(words: list[list[int]], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        read(stop_words_list=np.array(words, np.int32))


def test_a_deadline_is_read_in_milliseconds() -> None:
    assert params(deadline_ms=1500).deadline_ms == 1500
    assert refusal(deadline_ms=0) == f"deadline_ms must be between 1 and {2**31 - 1}, got 0"


def test_a_repositorys_deadline_beyond_all_that_can_be_said_refuses_nobody() -> None:
    names = ("input_ids", "input_lengths", "request_output_len")
    fields = Fields({name: tensor(1) for name in names}, ENGINE_TABLE)
    wanted = read_request(
        fields,
        request_id="7",
        decode=decode,
        encode=encode,
        eos_token_ids=(2,),
        max_seq_len=512,
        default_deadline_ms=10**12,
    )
    assert wanted.request.params.deadline_ms == 2**31 - 1


def test_a_priority_is_read_and_its_range_checked() -> None:
    assert (params().priority, params(priority=-7).priority) == (0, -7)
    assert refusal(priority=101) == "priority must be between -100 and 100, got 101"


def test_a_seed_is_64_bits() -> None:
    assert params(seed=np.array([2**64 - 1], np.uint64)).seed == 2**64 - 1


def test_too_many_stop_words_are_refused_with_the_limit() -> None:
    assert "10000 strings, at most 256" in refusal(stop_text=["x"] * 10_000)
    listed = np.array([[7] * 20_000, range(1, 20_001)], np.int32)
    assert refusal(stop_words_list=listed) == "stop_words_list holds 20000 tokens, at most 16384"


def test_a_stop_word_is_refused_by_its_bytes_before_it_is_decoded() -> None:
    message = "stop_words holds a string of 16385 bytes, at most 16384"
    assert refusal(from_ensemble=True, stop_text=[b"\xff" * 16_385]).endswith(message[10:])


class Uncopied(np.ndarray[Any, np.dtype[np.int32]]):
    """Token ids that must not become Python's numbers."""

    def tolist(self) -> Any:
        raise AssertionError("the prompt is too long to be copied")


def test_a_prompt_of_too_many_tokens_is_refused_before_they_are_copied() -> None:
    ids = np.zeros(1000, np.int32).view(Uncopied)
    message = "the prompt has 600 tokens, at most 511 fit: max_seq_len is 512, and one is left"
    assert refusal(input_ids=ids, input_lengths=600).startswith(message)


def test_tokens_behind_the_prompts_length_may_be_any_number() -> None:
    ids = np.arange(1000, dtype=np.int32)
    assert read(input_ids=ids, input_lengths=3).request.prompt_token_ids == (0, 1, 2)


def test_an_input_that_is_not_supported_is_refused_by_its_first_element() -> None:
    many = np.ones(10_000, np.float32)
    assert "prompt_embedding_table is not supported yet: got 1.0" in refusal(
        prompt_embedding_table=many
    )


def test_decoder_tokens_are_those_of_their_length() -> None:
    assert read(decoder_input_ids=[5, 6, 7]).request.decoder_token_ids == (5, 6, 7)
    wanted = read(decoder_input_ids=[5, 6, 7], decoder_input_lengths=2, task="summarization")
    assert (wanted.request.decoder_token_ids, wanted.request.task) == ((5, 6), "summarization")
    assert (
        "decoder_input_lengths must be between 0 and the 1 tokens of decoder_input_ids, got 2"
        in (refusal(decoder_input_ids=[5], decoder_input_lengths=2))
    )


def test_text_that_is_not_utf8_is_refused_with_the_place() -> None:
    message = refusal(stop_text=[b"ab\xff"])
    assert message.startswith("stop_text is not valid UTF-8: byte 2 of 3")


def test_a_request_that_asks_for_the_generation_config_leaves_open_what_it_does_not_send() -> None:
    asked = params(use_generation_config=True, temperature=0.5, seed=7)
    assert "max_tokens" not in asked.open_fields  # `request_output_len` was sent
    assert not {"temperature", "seed"} & asked.open_fields
    assert {"top_k", "top_p", "min_p", "min_tokens", "stop"} <= asked.open_fields
    assert not params(use_generation_config=False).open_fields
    assert not params().open_fields


def test_max_tokens_may_be_left_to_the_generation_config() -> None:
    asked = params(use_generation_config=True, request_output_len=[])
    assert "max_tokens" in asked.open_fields
    assert asked.max_tokens == SamplingParams().max_tokens
    assert "request_output_len is missing" in refusal(request_output_len=[])


def test_stop_words_of_a_request_go_before_those_of_the_generation_config() -> None:
    assert "stop" not in params(use_generation_config=True, stop_text=[b"END"]).open_fields


def test_biases_of_all_inputs_add_up() -> None:
    vector = np.zeros(100, np.float32)
    vector[[5, 66]] = 1.5, 2.0
    assert params(
        logit_bias='{"5": 0.5, "7": -100}',
        embedding_bias=vector,
        embedding_bias_words=["BC", ""],
        embedding_bias_weights=[4.0, 9.0],
    ).logit_bias == ((5, 2.0), (7, -100.0), (66, 6.0), (67, 4.0))
    assert params(embedding_bias_words=[""], embedding_bias_weights=[0.0]).logit_bias == ()


def test_wrong_biases_are_refused_by_name() -> None:
    assert refusal(logit_bias="[1]").startswith("logit_bias must be a JSON object of numbers by")
    assert refusal(logit_bias='{"a": 1}').startswith("logit_bias must be a JSON object of numbers")
    assert refusal(logit_bias='{"1": 1e30}').startswith("logit_bias must be between -1000000000.0")
    assert refusal(logit_bias='{"-1": 1}').startswith("logit_bias holds token -1")
    assert refusal(embedding_bias_words=["a", "b"], embedding_bias_weights=[1.0]) == (
        "embedding_bias_words and embedding_bias_weights must be as many, got 2 and 1"
    )


def test_bad_words_are_texts_or_lists_of_tokens() -> None:
    assert params(bad_words=["", "x y"]).bad_words == ("x y",)
    listed = np.array([[1, 2, 3, 0], [2, 3, -1, -1]], np.int32)
    assert read(bad_words_list=listed).request.bad_words == ((1, 2), (3,))
    none = np.array([[0], [-1]], np.int32)
    assert read(bad_words_list=none).request.bad_words == ()
    assert read(bad_words_list=np.zeros((2, 1), np.int32)).request.bad_words == ()


def test_a_guide_is_its_type_and_its_text() -> None:
    said = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "a+"}
    assert params(**said).guide == Guide.regex("a+")
    assert params(guided_decoding_guide_type="json").guide == Guide.json()
    assert params(guided_decoding_guide_type="", guided_decoding_guide="").guide is None
    assert refusal(guided_decoding_guide="a").startswith("guided_decoding_guide_type is missing")
    assert refusal(guided_decoding_guide_type="xml", guided_decoding_guide="a") == (
        "guided_decoding_guide_type must be one of json, json_schema, regex, ebnf_grammar, "
        "structural_tag, got 'xml'"
    )
