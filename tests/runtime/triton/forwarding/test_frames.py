"""What goes into a frame comes out of it, however its bytes are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from llmasos_runtime.triton.forwarding.frames import FrameReader, encoded
from numpy.typing import NDArray

KINDS = (np.int32, np.int64, np.uint8, np.uint64, np.float32, np.float16, np.bool_)
SHAPES = arrays_of.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
NUMBERS = st.sampled_from(KINDS).flatmap(lambda kind: arrays_of.arrays(kind, SHAPES))
STRINGS = arrays_of.arrays(np.object_, SHAPES, elements=st.binary(max_size=9))
ARRAYS = st.dictionaries(st.text(max_size=5), NUMBERS | STRINGS, max_size=4)
HEADERS = st.dictionaries(st.sampled_from(["id", "outputs"]), st.text(max_size=5))


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if a.dtype == np.object_:
        return a.shape == b.shape and a.tolist() == b.tolist()
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(st.lists(st.tuples(HEADERS, ARRAYS), max_size=3), st.integers(1, 40))
def test_frames_come_out_as_they_went_in(
    frames: list[tuple[dict[str, str], dict[str, NDArray[Any]]]], piece: int
) -> None:
    data = b"".join(encoded(header, arrays) for header, arrays in frames)
    reader = FrameReader()
    found = [
        frame
        for begin in range(0, len(data), piece)
        for frame in reader.feed(data[begin : begin + piece])
    ]
    assert [frame.header for frame in found] == [header for header, _ in frames]
    for frame, (_, arrays) in zip(found, frames, strict=True):
        assert list(frame.arrays) == list(arrays)
        assert all(same(frame.arrays[name], array) for name, array in arrays.items())


@pytest.mark.parametrize("text", ["é€", b"a\0b\0", b"", ""])
def test_a_string_is_its_bytes(text: str | bytes) -> None:
    data = encoded({}, {"t": np.array([[text]], np.object_)})
    (frame,) = FrameReader().feed(data)
    assert frame.arrays["t"].tolist() == [[text.encode() if isinstance(text, str) else text]]


def test_arrays_may_be_written_to_and_need_not_be_contiguous() -> None:
    array = np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2]
    (frame,) = FrameReader().feed(encoded({}, {"a": array}))
    assert frame.arrays["a"].tolist() == array.tolist()
    frame.arrays["a"][0, 0] = 7
