"""JSON of others is bounded in its size, depth and numbers before anything is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from llmasos.errors import CheckpointError
from llmasos.files.json_file import MAX_BYTES, MAX_VALUES, parse_json_object, read_json_object


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nested(65), "nests objects and lists deeper than 64"),
        (nested(100_000), "nests objects and lists deeper than 64"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "nests objects and lists deeper than 64"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' appears twice"),
        (b'{"a": {"b": 1, "b": 1}}', "the key 'b' appears twice"),
        (b'{"a": ' + b"9" * 101 + b"}", "a number has 101 digits, at most 100 are read"),
        (b'{"a": ' + b"9" * 10**6 + b"}", "a number has 1000000 digits, at most 100 are read"),
        (b'{"a": "\\ud800"}', "has text that is not Unicode: a lone surrogate"),
        (b'{"\\udc00": 1}', "has text that is not Unicode: a lone surrogate"),
        (b'{"a": "\xed\xa0\x80"}', "is not valid JSON: 'utf-8' codec"),
        (b'{"a": "\xff"}', "is not valid JSON: 'utf-8' codec"),
        (b'{"a": [' + b"[]," * MAX_VALUES + b"[]]}", f"values, at most {MAX_VALUES} are read"),
        (b"", "is not valid JSON"),
        (b"\0" * 100, "is not valid JSON"),
        (b"[]", "must hold a JSON object, got list"),
        (b"NaN", "must hold a JSON object, got float"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_json_that_asks_for_too_much_is_refused_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        parse_json_object(content, name="it")
    assert message in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 4100


def test_json_as_checkpoints_have_it_is_read() -> None:
    assert parse_json_object(nested(64), name="it")
    pair = b'{"model_max_length": 1000000000000000019884624838656, "\\ud83d\\ude00": [1e5, null]}'
    assert parse_json_object(pair, name="it") == {
        "model_max_length": 1000000000000000019884624838656,
        "\N{GRINNING FACE}": [1e5, None],
    }


def test_a_long_key_does_not_make_a_long_message() -> None:
    key = b'"' + b"k" * 10**6 + b'"'
    with pytest.raises(CheckpointError) as caught:
        parse_json_object(b"{%b:1,%b:2}" % (key, key), name="it")
    assert len(str(caught.value)) < 4100


@pytest.mark.parametrize("name", [*MAX_BYTES, "anything.json"])
def test_a_file_is_bounded_by_its_name(tmp_path: Path, name: str) -> None:
    bound = MAX_BYTES.get(name, 16 << 20)
    with (tmp_path / name).open("wb") as stream:
        stream.truncate(bound + 1)
    with pytest.raises(CheckpointError, match=f"has {bound + 1} bytes, at most {bound} are read"):
        read_json_object(tmp_path / name)
