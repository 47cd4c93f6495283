"""Stop strings are found in any pieces of text, and what begins one is known."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos_runtime.text.stop_strings import State, StopStrings

words = st.text(st.sampled_from("ab."), min_size=1, max_size=8)


def read(stop: Sequence[str], pieces: Sequence[str]) -> tuple[State, list[tuple[int, str]]]:
    """All that is found, with its end in the whole text."""
    strings = StopStrings(stop)
    state, begin, found = strings.start, 0, []
    for piece in pieces:
        state, ends = strings.read(state, piece)
        found += [(begin + end, s) for end, s in ends]
        begin += len(piece)
    return state, found


@settings(max_examples=500, deadline=None)
@given(stop=st.lists(words, min_size=1, max_size=8), pieces=st.lists(st.text("ab.c", max_size=6)))
def test_all_are_found_and_what_could_begin_one_is_known(
    stop: list[str], pieces: list[str]
) -> None:
    state, found = read(stop, pieces)
    text = "".join(pieces)
    ends = [(n, [s for s in stop if text.endswith(s, 0, n)]) for n in range(1, len(text) + 1)]
    assert found == [(n, max(strings, key=len)) for n, strings in ends if strings]
    beginnings = {s[:n] for s in stop for n in range(1, len(s) + 1)}
    assert state.length == max((len(b) for b in beginnings if text.endswith(b)), default=0)


def test_characters_that_mean_something_in_patterns_are_plain() -> None:
    for stop in ("^a", "$", ".*", "[", "\\", "|", "]x", "-", "\n"):
        _, found = read([stop], ["ab|", f"cd{stop}e"])
        assert (5 + len(stop), stop) in found


def test_many_long_strings_are_not_gone_through_for_each_character() -> None:
    stop = [chr(ord("a") + n % 26) + f"{n:03}" * 1365 for n in range(256)]
    strings = StopStrings(stop)
    state = strings.start
    for _ in range(1000):
        state, found = strings.read(state, "zebra a000")
        assert not found
    state, found = strings.read(strings.start, stop[200])
    assert found == [(len(stop[200]), stop[200])]


def test_a_string_of_one_repeated_character_is_read_once() -> None:
    strings = StopStrings(["a" * 4096, "a" * 2000 + "b"])
    state, found = strings.read(strings.start, "a" * 20_000)
    assert len(found) == 20_000 - 4096 + 1
    assert state.length == 4096
    assert strings.read(state, "b")[1] == [(1, "a" * 2000 + "b")]
