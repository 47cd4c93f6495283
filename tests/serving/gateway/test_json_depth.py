"""Depth is found in the bytes as a parser would find it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos_serving.gateway import json_depth
from llmasos_serving.gateway.json_depth import is_deeper_than

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\ax\u2603'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('[}"\\'), inner, max_size=3)
    ),
    max_leaves=30,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.booleans())
def test_the_depth_is_that_of_the_value(value: Any, is_ascii: bool) -> None:
    body = json.dumps(value, ensure_ascii=is_ascii).encode()
    assert is_deeper_than(body, depth(value)) is False
    if depth(value):
        assert is_deeper_than(body, depth(value) - 1) is True


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_depth_and_strings_go_on_from_one_piece_to_the_next(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(json_depth, "_CHUNK", chunk)
    body = json.dumps([["[[[[[", '\\"[[[[', {"{{{": [1]}], "]]"]).encode()
    assert [is_deeper_than(body, most) for most in (2, 3, 4)] == [True, True, False]


def test_megabytes_of_brackets_take_no_time_to_speak_of() -> None:
    assert is_deeper_than(b"[" * 32_000_000, 64)
    assert not is_deeper_than(b"[" + b"[]," * 2_000_000 + b"[]]", 64)
