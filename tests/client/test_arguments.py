"""Sampling parameters by name say the same as a SamplingParams."""

from __future__ import annotations

import pytest
from llmasos import SamplingParams
from llmasos.arguments import (
    check_prompt,
    check_prompts,
    check_timeout,
    params_of_each,
    sampling_params,
)
from llmasos.errors import InvalidRequestError
from llmasos.sampling import SAMPLING_FIELDS, SamplingFields
from llmasos.text.chat_messages import check_messages


def test_every_field_of_sampling_params_can_be_given_by_name() -> None:
    assert SamplingFields.__optional_keys__ == SAMPLING_FIELDS


def test_fields_make_sampling_params() -> None:
    assert sampling_params(None, max_tokens=3, stop=["a", "b"], stop_token_ids=[7]) == (
        SamplingParams(max_tokens=3, stop=("a", "b"), stop_token_ids=(7,))
    )


def test_one_stop_string_need_not_be_a_list() -> None:
    assert sampling_params(None, stop="end").stop == ("end",)


def test_params_pass_through() -> None:
    params = SamplingParams(top_k=3)
    assert sampling_params(params) is params


def test_both_forms_at_once_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="got both: top_k"):
        sampling_params(SamplingParams(), top_k=3)


def test_a_misspelt_field_is_an_error_that_names_it() -> None:
    with pytest.raises(TypeError, match="max_token"):
        sampling_params(None, max_token=3)  # type: ignore[call-arg]  # the point of the test


def test_a_value_outside_its_limits_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="top_p"):
        sampling_params(None, top_p=2.0)


def test_a_field_that_should_be_a_list_and_is_none_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError, match="stop must be strings, got 5"):
        sampling_params(None, stop=5)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(InvalidRequestError, match="stop_token_ids must be a list of integers"):
        sampling_params(None, stop_token_ids=5)  # type: ignore[arg-type]


def test_each_prompt_has_its_params() -> None:
    one, two = SamplingParams(top_k=1), SamplingParams(top_k=2)
    assert params_of_each(None, count=2) == [SamplingParams()] * 2
    assert params_of_each(one, count=2) == [one, one]
    assert params_of_each((one, two), count=2) == [one, two]
    assert params_of_each(None, count=2, top_k=1) == [one, one]


def test_params_of_each_prompt_and_fields_of_all_are_refused() -> None:
    for params in (SamplingParams(), [SamplingParams(), SamplingParams()]):
        with pytest.raises(InvalidRequestError, match="got both: top_k"):
            params_of_each(params, count=2, top_k=3)


def test_too_few_params_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="got 1 SamplingParams for 2 prompts"):
        params_of_each([SamplingParams()], count=2)


def test_text_and_messages_pass_the_checks_as_they_are() -> None:
    message = {"role": "user", "content": "Grüße ☃"}
    assert check_prompt("") == ""
    assert check_prompts(("a", "b")) == ["a", "b"]
    assert check_prompts(text for text in "ab") == ["a", "b"]
    assert check_messages((message,)) == [message]
    in_parts = {**message, "content": [{"type": "text", "text": "Grüße ☃"}]}
    assert check_messages([in_parts]) == [in_parts]


@pytest.mark.parametrize(("prompt", "kind"), [(b"Hi", "bytes"), (None, "NoneType"), (5, "int")])
def test_a_prompt_that_is_no_text_is_refused_by_its_type(prompt: object, kind: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^prompt must be a str, got {kind}$"):
        check_prompt(prompt)
    with pytest.raises(InvalidRequestError, match=rf"^prompts\[1\] must be a str, got {kind}$"):
        check_prompts(["Hi", prompt])


@pytest.mark.parametrize(("prompts", "kind"), [("Hey", "str"), (b"Hey", "bytes"), (5, "int")])
def test_a_list_of_prompts_is_not_one_prompt(prompts: object, kind: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"prompts must be a list of str, got {kind}"):
        check_prompts(prompts)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ("Hello", "messages must be a list, got str"),
        (None, "messages must be a list, got NoneType"),
        ({"role": "user", "content": "Hi"}, "messages must be a list, got dict"),
        ([], "at least one message"),
        ([("user", "Hi")], r"messages\[0\] must be an object, got tuple"),
        ([{"role": "user"}], r"messages\[0\] has no content"),
        ([{"role": "user", "content": 5}], r"messages\[0\]\.content must be .* got int"),
        ([{"role": "user", "content": b"Hi"}], r"messages\[0\]\.content"),
        ([{"role": "user", "content": None}], r"messages\[0\] has no content"),
    ],
)
def test_messages_that_are_none_are_refused_by_name(messages: object, named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        check_messages(messages)


def test_half_of_a_utf_16_pair_is_refused() -> None:
    with pytest.raises(
        InvalidRequestError, match=r"prompt is not .* a lone surrogate at character 1"
    ):
        check_prompt("a\ud800")
    with pytest.raises(InvalidRequestError, match=r"prompts\[0\] is not valid Unicode"):
        check_prompts(["\ud800"])
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]\.content is not valid Unicode"):
        check_messages([{"role": "user", "content": "\ud800"}])


def test_a_timeout_is_none_or_some_seconds() -> None:
    assert check_timeout(None) is None
    assert check_timeout(0.5) == 0.5
    assert check_timeout(3) == 3


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan"), float("inf"), True, "5"])
def test_a_timeout_that_is_no_time_is_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidRequestError, match="timeout_s must be None or seconds above 0, got"):
        check_timeout(timeout_s)
