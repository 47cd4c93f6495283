"""A text cut into windows: each token is predicted at most once, in its place."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from llmasos_runtime.evaluation.window import Window, make_windows


def targets(windows: list[Window]) -> list[int]:
    """Positions in the text that the windows predict."""
    return [w.begin + i for w in windows for i in range(w.first_target, len(w.token_ids))]


@given(st.integers(2, 200), st.integers(2, 40), st.data())
def test_each_token_that_has_context_is_predicted_once(
    count: int, length: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, length))
    windows = make_windows(range(count), length=length, stride=stride)
    times = Counter(targets(windows))
    assert set(times.values()) <= {1}
    missing = set(range(count)) - set(times)
    alone = set(range(0, count, length)) if stride == length else {0}
    assert missing == alone
    for window in windows:
        assert window.token_ids == tuple(range(count))[window.begin :][: len(window.token_ids)]
        assert len(window.token_ids) <= length


def test_windows_of_1024_that_do_not_overlap_leave_out_their_first_token() -> None:
    windows = make_windows(range(8192), length=1024, stride=1024)
    assert [(w.begin, len(w.token_ids), w.first_target) for w in windows] == [
        (1024 * i, 1024, 1) for i in range(8)
    ]


def test_with_a_stride_later_windows_predict_only_what_is_new() -> None:
    windows = make_windows(range(10), length=6, stride=3)
    assert [(w.begin, len(w.token_ids), w.first_target) for w in windows] == [
        (0, 6, 1),
        (3, 6, 3),
        (6, 4, 3),
    ]
