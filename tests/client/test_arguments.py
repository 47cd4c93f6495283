"""Sampling parameters by name say the same as a SamplingParams."""

from __future__ import annotations

from dataclasses import fields

import pytest
from llmasos import SamplingParams
from llmasos.arguments import SamplingFields, params_of_each, sampling_params
from llmasos.errors import InvalidRequestError


def test_every_field_of_sampling_params_can_be_given_by_name() -> None:
    assert SamplingFields.__optional_keys__ == {field.name for field in fields(SamplingParams)}


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


def test_each_prompt_has_its_params() -> None:
    one, two = SamplingParams(top_k=1), SamplingParams(top_k=2)
    assert params_of_each(None, count=2) == [SamplingParams()] * 2
    assert params_of_each(one, count=2) == [one, one]
    assert params_of_each((one, two), count=2) == [one, two]


def test_too_few_params_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="got 1 SamplingParams for 2 prompts"):
        params_of_each([SamplingParams()], count=2)
