"""How deep the lists and objects of a JSON text are nested, found before it is parsed."""

from __future__ import annotations

import numpy as np

_CHUNK = 1 << 20


def is_deeper_than(body: bytes, most: int) -> bool:
    """Whether a list or object of `body` stands inside `most` others; strings do not count.

    Takes time in proportion to the bytes alone, whatever they are: what parses by recursion may
    run out of stack. For a body that is no JSON the result has no meaning.
    """
    if body.count(b"[") + body.count(b"{") <= most:
        return False
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth, in_string = 0, False
    for begin in range(0, len(plain), _CHUNK):
        letters = np.frombuffer(plain, np.uint8, min(_CHUNK, len(plain) - begin), begin)
        inside = np.logical_xor.accumulate(letters == ord('"')) ^ in_string
        opened = (letters == ord("[")) | (letters == ord("{"))
        closed = (letters == ord("]")) | (letters == ord("}"))
        change = np.where(inside, 0, opened.astype(np.int8) - closed.astype(np.int8))
        depths = depth + np.cumsum(change, dtype=np.int64)
        if depths.max() > most:
            return True
        depth, in_string = int(depths[-1]), bool(inside[-1])
    return False
