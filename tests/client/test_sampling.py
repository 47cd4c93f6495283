"""SamplingParams takes what means a number, keeps plain values, and names what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llmasos.errors import InvalidRequestError
from llmasos.sampling import SamplingParams


def made(**fields: Any) -> SamplingParams:
    return SamplingParams(**fields)


def test_numpys_numbers_become_plain_ones() -> None:
    params = made(
        max_tokens=np.int64(5),
        top_k=np.uint8(3),
        temperature=np.float32(0.5),
        seed=np.uint64(2**64 - 1),
        stop_token_ids=np.array([1, 2]),
        speculate=np.bool_(False),
    )
    plain = made(
        max_tokens=5,
        top_k=3,
        temperature=0.5,
        seed=2**64 - 1,
        stop_token_ids=(1, 2),
        speculate=False,
    )
    assert params == plain
    for name in ("max_tokens", "top_k", "temperature", "seed", "speculate"):
        assert type(getattr(params, name)) is type(getattr(plain, name))
    assert {type(token_id) for token_id in params.stop_token_ids} == {int}


def test_one_stop_string_stands_for_itself_and_a_list_is_kept_as_a_tuple() -> None:
    assert made(stop="END").stop == ("END",)
    assert made(stop=["a", "b"]).stop == ("a", "b")
    assert made(temperature=1).temperature == 1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": 2.5}, "max_tokens must be an integer, got 2.5"),
        ({"max_tokens": "4"}, "max_tokens must be an integer, got '4'"),
        ({"max_tokens": True}, "max_tokens must be an integer, got True"),
        ({"top_k": 2.5}, "top_k must be an integer, got 2.5"),
        ({"seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"seed": -1}, "seed must be between 0"),
        ({"priority": 101}, "priority must be between -100 and 100, got 101"),
        ({"priority": 0.5}, "priority must be an integer, got 0.5"),
        ({"speculate": "yes"}, "speculate must be true or false, got 'yes'"),
        ({"speculate": 1}, "speculate must be true or false, got 1"),
        ({"speculate": np.array([True, True])}, "speculate must be true or false, got array"),
        ({"deadline_ms": 0}, "deadline_ms must be between 1 and"),
        ({"deadline_ms": "soon"}, "deadline_ms must be an integer, got 'soon'"),
        ({"temperature": None}, "temperature must be a number, got None"),
        ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"temperature": float("nan")}, "temperature must be between .* got nan"),
        ({"top_p": 0}, "top_p must be above 0"),
        ({"top_p": 2}, r"top_p must be between 0.0 and 1.0, got 2"),
        ({"stop": None}, "stop must be strings, got None"),
        ({"stop": [b"x"]}, "stop must be strings, got b'x'"),
        ({"stop": [""]}, "a stop string must have 1 to 4096 characters, got 0"),
        ({"stop_token_ids": 5}, "stop_token_ids must be a list of integers, got 5"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids must be an integer, got 'a'"),
        ({"stop_token_ids": [-1]}, "stop_token_ids must be between 0"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        made(**fields)
