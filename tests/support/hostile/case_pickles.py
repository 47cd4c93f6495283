"""Pickles that ask for memory, time or code, and the zip archives around them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hostile.making import (
    PICKLED,
    SINGLE,
    dictionary,
    number,
    numbers,
    pickled,
    sparse,
    storage,
    tensor,
    text,
)

_ONE = tensor(storage(1), shape=numbers(1), strides=numbers(1))
# A tuple of twice the last one, forty times over: written out it has 2^40 parts.
_SHARED = b")q\x00" + b"h\x00\x86q\x00" * 40
FOREIGN, DAMAGED = "holds objects that are not tensors", "is damaged"


def _program(program: bytes, content: bytes = b"") -> Callable[[Path], None]:
    return partial(pickled, program=program, content=content)


def _tensor(stored: bytes, *, shape: bytes, strides: bytes) -> Callable[[Path], None]:
    return _program(dictionary(text("a"), tensor(stored, shape=shape, strides=strides)), bytes(4))


def _two(archive: zipfile.ZipFile) -> None:
    for folder in ("a", "b"):
        archive.writestr(f"{folder}/data.pkl", b"")


def _hole(directory: Path) -> None:
    (directory / SINGLE).unlink()
    sparse(directory / PICKLED, 60 << 30)


def _archive(fill: Callable[[zipfile.ZipFile], object]) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / SINGLE).unlink()
        with zipfile.ZipFile(directory / PICKLED, "w") as archive:
            fill(archive)

    return change


def _end(entries: int, size: int, offset: int, *, apparent: int = 0) -> Callable[[Path], None]:
    """An archive that is an end alone, which promises a directory."""

    def change(directory: Path) -> None:
        (directory / SINGLE).unlink()
        path = directory / PICKLED
        path.write_bytes(b"PK\x03\x04")
        sparse(path, apparent)
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, entries, entries, size, offset, 0)
        with path.open("ab") as stream:
            stream.write(end)

    return change


def _compressed(archive: zipfile.ZipFile) -> None:
    archive.writestr("archive/data.pkl", bytes(1 << 28), zipfile.ZIP_DEFLATED)


def _many(archive: zipfile.ZipFile) -> None:
    archive.writestr("archive/data.pkl", b"\x80\x02}.")
    for index in range(100_000):
        archive.writestr(f"archive/data/{index:060}", b"")


def _repeated(rows: int, columns: int) -> Callable[[Path], None]:
    """One number, as a matrix of so many."""
    return _tensor(storage(1), shape=numbers(rows, columns), strides=numbers(0, 0))


def _shared_storage(directory: Path) -> None:
    count, times = 1 << 20, 2000
    one = tensor(storage(count), shape=numbers(count), strides=numbers(1))
    items = (text(f"t{i}") + one for i in range(times))
    pickled(directory, dictionary(*items), bytes(4 * count))


CASES: dict[str, tuple[Callable[[Path], Path | None], str]] = {
    "a pickle of marks": (_program(b"(" * 10_000_000), "more than 64 marks at once"),
    "a pickle of dictionaries": (_program(b"}" * 10_000_000), "more than 2097152 instructions"),
    "a pickle of tuples": (_program(b")" + b"\x85" * 10_000_000), "instructions"),
    "a pickle that fills its memo": (
        _program(b"}" + b"".join(b"r" + struct.pack("<I", i) for i in range(3_000_000))),
        "instructions",
    ),
    "marks and tuples over a long stack": (
        _program(b"}" * 900_000 + b"(t" * 500_000),
        DAMAGED,
    ),
    "a pickle of 20 MB": (_program(text("x" * (20 << 20))), "at most 16777216 expected"),
    "a key that is shared": (_program(b"}" + _SHARED + b"K\x01s"), "a key that is a tuple"),
    "a key that is shared among items": (
        _program(b"}(" + _SHARED + b"K\x01u"),
        "a key that is a tuple",
    ),
    "an ordered dictionary of what is shared": (
        _program(b"ccollections\nOrderedDict\n((" + _SHARED + b"K\x01t\x85tR"),
        DAMAGED,
    ),
    "a name that is shared": (_program(_SHARED + _SHARED + b"\x93"), "a name that is no text"),
    "a storage that is shared": (_program(_SHARED + b"Q"), FOREIGN),
    "a shape that is shared": (
        _program(dictionary(text("a"), tensor(storage(1), shape=_SHARED, strides=_SHARED))),
        "a tensor of odd sizes",
    ),
    "a value that is shared": (_program(dictionary(text("a"), _SHARED)), "which is no tensor"),
    "a dictionary that holds itself": (
        _program(b"}q\x00" + text("a") + b"h\x00s"),
        "which is no tensor",
    ),
    "a shape of a million dimensions": (
        _tensor(
            storage(1),
            shape=b"(" + b"K\x01" * 500_000 + b"t",
            strides=b"(" + b"K\x00" * 500_000 + b"t",
        ),
        "a tensor of odd sizes",
    ),
    "a call of the system": (
        _program(b"cos\nsystem\n" + text("true") + b"\x85R"),
        "names os.system",
    ),
    "a build of what is no dictionary": (_program(b"K\x01K\x01b"), FOREIGN),
    "an instance": (_program(b"(ios\nsystem\n"), "the instruction INST"),
    "an extension": (_program(b"\x82\x01"), "the instruction EXT1"),
    "a number of 16 MB": (
        _program(b"\x8b" + struct.pack("<i", 16_000_000) + b"\x7f" * 16_000_000),
        FOREIGN,
    ),
    "a number of a million digits": (_program(b"I" + b"9" * 10**6 + b"\n"), DAMAGED),
    "a text longer than the pickle": (_program(b"X\xff\xff\xff\xff"), DAMAGED),
    "no instruction at all": (_program(b""), DAMAGED),
    "what is recalled and was never remembered": (_program(b"h\x07"), DAMAGED),
    "a tuple below the stack": (_program(b"\x87"), "an instruction without its values"),
    "items that are not in pairs": (_program(b"}(K\x01u"), DAMAGED),
    "a tensor with a negative step": (
        _tensor(storage(4), shape=numbers(2), strides=numbers(-1)),
        "a tensor of odd sizes",
    ),
    "a tensor behind its storage": (
        _tensor(storage(4), shape=numbers(2**40), strides=numbers(1)),
        "a tensor that ends after its storage",
    ),
    "a tensor whose steps overflow": (
        _tensor(storage(4), shape=numbers(2, 2), strides=numbers(2**62, 2**62)),
        "a tensor that ends after its storage",
    ),
    "a tensor of sizes of 2000 bits": (
        _tensor(storage(4), shape=numbers(1 << 2000), strides=numbers(0)),
        "a tensor of odd sizes",
    ),
    "a storage of a negative size": (
        _tensor(storage(-4), shape=numbers(0), strides=numbers(1)),
        "malformed storage record",
    ),
    "a storage that is not there": (
        _program(
            dictionary(
                text("model.embed_tokens.weight"),
                tensor(storage(1, "x"), shape=numbers(1), strides=numbers(1)),
            )
        ),
        "has the shape [1]",
    ),
    "one number repeated 2^60 times": (
        _repeated(1 << 30, 1 << 30),
        f"has tensors of {1 << 60} numbers",
    ),
    "a storage shared by thousands": (_shared_storage, "has tensors of 2097152000 numbers"),
    "a name that is a number": (_program(b"}(" + number(3) + _ONE + b"u"), "it holds 3, which"),
    "a record that is compressed": (_archive(_compressed), "at most 16777216 expected"),
    "an archive of 100,000 records": (_archive(_many), "its directory has more than"),
    "a directory of 2 GB": (
        _end(0xFFFE, 2 << 30, 4, apparent=3 << 30),
        "its directory has more than",
    ),
    "a directory of 4 GB that is not there": (_end(0xFFFE, 0xFFFFFFF0, 0), "truncated or damaged"),
    "two descriptions": (
        _archive(_two),
        "it has 2 data.pkl",
    ),
    "no description": (_archive(lambda a: a.writestr("x", b"")), "it has 0 data.pkl"),
    "an archive that is a 60 GB hole": (
        _hole,
        "is not in the form that torch saves in",
    ),
}
