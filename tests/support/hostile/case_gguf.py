"""GGUF files whose counts, lengths and offsets lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from hostile.making import gguf, gguf_tensor, gguf_text, gguf_value, sparse

U8, U32, STRING, ARRAY, U64 = 0, 4, 8, 9, 10


def _file(content: bytes, *, apparent: int = 0) -> Callable[[Path], Path]:
    def change(directory: Path) -> Path:
        path = directory / "m.gguf"
        path.write_bytes(content)
        if apparent:
            sparse(path, apparent)
        return path

    return change


def _array(kind: int, count: int, content: bytes = b"") -> bytes:
    return gguf_value(b"a", ARRAY, struct.pack("<IQ", kind, count) + content)


def _values(*values: bytes, rest: int = 0) -> bytes:
    return gguf(b"".join(values), counts=(0, len(values)), rest=rest)


def _tensors(*tensors: bytes, rest: int = 0) -> bytes:
    return gguf(b"", b"".join(tensors), counts=(len(tensors), 0), rest=rest)


def _alignment(value: int, kind: int = U32) -> bytes:
    packed = struct.pack("<I" if kind == U32 else "<Q", value)
    return _values(gguf_value(b"general.alignment", kind, packed))


def _key(key: str, value: int) -> bytes:
    return gguf_value(f"llama.{key}".encode(), U32, struct.pack("<I", value))


def _llama(**changes: int) -> bytes:
    sizes = {
        "embedding_length": 64,
        "feed_forward_length": 64,
        "block_count": 1,
        "attention.head_count": 4,
        "context_length": 64,
        **changes,
    }
    name = gguf_value(b"general.architecture", STRING, gguf_text(b"llama"))
    return _values(name, *(_key(key, value) for key, value in sizes.items()))


def _shards(directory: Path) -> Path:
    path = directory / "m-00001-of-99999.gguf"
    path.write_bytes(_values(gguf_value(b"split.count", U32, struct.pack("<I", 99999))))
    return path


DAMAGED, SHORT = "is damaged", "is truncated or damaged"
CASES: dict[str, tuple[Callable[[Path], Path | None], str]] = {
    "2^60 tensors": (_file(gguf(counts=(1 << 60, 0))), SHORT),
    "2^60 values": (_file(gguf(counts=(0, 1 << 60))), SHORT),
    "2^64 - 1 of both": (_file(gguf(counts=(2**64 - 1, 2**64 - 1))), SHORT),
    "10 million tensors in a sparse file": (
        _file(gguf(counts=(10**7, 0)), apparent=60 << 30),
        "a count of 10000000, where at most 262144",
    ),
    "20 million values in a sparse file": (
        _file(gguf(counts=(0, 2 * 10**7)), apparent=60 << 30),
        "a count of 20000000, where at most 65536",
    ),
    "10^9 tokens": (
        _file(_values(_array(STRING, 10**9)), apparent=60 << 30),
        "has 8000000049 bytes or more, at most",
    ),
    "30 million tokens": (
        _file(_values(_array(STRING, 3 * 10**7)), apparent=60 << 30),
        "a count of 30000000, where at most 8388608",
    ),
    "200 million bytes in an array": (
        _file(_values(_array(U8, 2 * 10**8)), apparent=60 << 30),
        "a count of 200000000, where at most 8388608",
    ),
    "two arrays of 5 million": (
        _file(gguf(_array(U8, 5_000_000, bytes(5_000_000)) * 2, counts=(0, 2)), apparent=1 << 30),
        "is damaged: it has a twice",
    ),
    "arrays that are many together": (
        _file(
            gguf(
                _array(U8, 5_000_000, bytes(5_000_000))
                + gguf_value(b"b", ARRAY, struct.pack("<IQ", U8, 5_000_000)),
                counts=(0, 2),
            ),
            apparent=1 << 30,
        ),
        "a count of 5000000, where at most",
    ),
    "a string of 2^63": (
        _file(_values(gguf_value(b"a", STRING, struct.pack("<Q", 1 << 63)))),
        SHORT,
    ),
    "a string of 10 GB": (
        _file(_values(gguf_value(b"a", STRING, struct.pack("<Q", 10**10))), apparent=60 << 30),
        "bytes or more, at most",
    ),
    "an array of arrays": (_file(_values(_array(ARRAY, 1), rest=64)), "an array of arrays"),
    "an array of what is unknown": (_file(_values(_array(77, 1), rest=64)), "unknown type 77"),
    "a value of what is unknown": (_file(_values(gguf_value(b"a", 99, b""), rest=64)), "type 99"),
    "a name of 2^63": (_file(gguf(struct.pack("<Q", 1 << 63), counts=(0, 1), rest=64)), DAMAGED),
    "a name of line breaks": (_file(_values(gguf_value(b"a\nb", U32, bytes(4)))), DAMAGED),
    "no name": (_file(_values(gguf_value(b"", U32, bytes(4)))), DAMAGED),
    "a key twice": (_file(_values(*[gguf_value(b"a", U32, bytes(4))] * 2)), "it has a twice"),
    "dims that overflow": (
        _file(_tensors(gguf_tensor(b"a", (2**32, 2**32, 2**32)), rest=64)),
        "is truncated: tensor a ends at byte",
    ),
    "five dims": (_file(_tensors(gguf_tensor(b"a", (1,) * 5), rest=64)), "5 dimensions"),
    "2^32 - 1 dims": (
        _file(_tensors(gguf_text(b"a") + struct.pack("<I", 2**32 - 1), rest=64)),
        "4294967295 dimensions",
    ),
    "a dim of zero": (_file(_tensors(gguf_tensor(b"a", (0, 4)), rest=64)), "of the shape"),
    "a quantized scalar": (_file(_tensors(gguf_tensor(b"a", (), kind=8), rest=64)), DAMAGED),
    "rows that make no block": (
        _file(_tensors(gguf_tensor(b"a", (33,), kind=8), rest=64)),
        DAMAGED,
    ),
    "a type that is unknown": (
        _file(_tensors(gguf_tensor(b"a", (1,), kind=999), rest=64)),
        "unknown type 999",
    ),
    "an offset behind the file": (
        _file(_tensors(gguf_tensor(b"a", (1,), offset=2**63), rest=64)),
        "is truncated: tensor a ends",
    ),
    "tensors of one place": (
        _file(_tensors(gguf_tensor(b"a", (8,)), gguf_tensor(b"b", (8,)), rest=512)),
        "tensor b overlaps another",
    ),
    "a tensor twice in GGUF": (
        _file(_tensors(gguf_tensor(b"a", (8,)), gguf_tensor(b"a", (8,), offset=32), rest=512)),
        "is there twice",
    ),
    "an alignment of 0": (_file(_alignment(0)), "an alignment of 0"),
    "an alignment of 3": (_file(_alignment(3)), "an alignment of 3"),
    "an alignment of 2^31": (_file(_alignment(1 << 31)), "an alignment of 2147483648"),
    "an alignment of 2^63": (_file(_alignment(1 << 63, U64)), "an alignment of"),
    "10^9 blocks": (_file(_llama(block_count=10**9)), "block_count must be at least 1 and at most"),
    "2^30 heads": (_file(_llama(**{"attention.head_count": 1 << 30})), "head_count must be"),
    "heads of 2^31": (
        _file(_llama(**{"attention.key_length": 1 << 31})),
        "attention.key_length must be at least 1 and at most",
    ),
    "99,999 shards": (_shards, "is one of 99999 shards"),
}
