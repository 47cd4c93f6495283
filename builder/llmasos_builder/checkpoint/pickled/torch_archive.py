"""Reads the zip archive that torch saves: uncompressed records under one folder.

Its directory is bounded, and read once. Records are read from the file when they are needed.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from llmasos.errors import CheckpointError
from llmasos.files.regular_file import open_regular

_RECORD = "data.pkl"
_ZIP = b"PK"
_MAX_DIRECTORY_BYTES = 8 << 20
_ENCRYPTED = 1
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # lengths of the name and of what is behind it
_LOCAL_SIGNATURE = b"PK\x03\x04"
_CHUNK_BYTES = 1 << 24
# What zipfile raises of a damaged one: names that are no text, lengths that are none.
_DAMAGED = (
    zipfile.BadZipFile,
    ArithmeticError,
    EOFError,
    LookupError,
    RuntimeError,
    ValueError,
    struct.error,
)


class TorchArchive:
    """The directory of a file; raises CheckpointError if it is not such an archive, or damaged.

    path, size: of the file; size in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path) as stream:
            self._entries = _entries(stream, path)
            self.size = stream.seek(0, 2)
        found = [name for name in self._entries if PurePosixPath(name).name == _RECORD]
        if len(found) != 1:
            raise CheckpointError(f"{path} is not a torch file: it has {len(found)} {_RECORD}")
        self._folder = found[0].removesuffix(_RECORD)

    def description(self, *, at_most: int) -> bytes:
        """Returns the pickle that describes the tensors."""
        return bytes(self.read(_RECORD, at_most=at_most))

    def is_little_endian(self) -> bool:
        name = f"{self._folder}byteorder"
        return name not in self._entries or bytes(self.read("byteorder", at_most=16)) == b"little"

    def read(self, record: str, *, at_most: int) -> bytearray:
        """Returns a record of at most `at_most` bytes after checking its checksum."""
        entry = self._entries.get(self._folder + record)
        if entry is None:
            raise self._damaged(f"there is no {record}")
        stored = (
            entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
        )
        if not stored or entry.flag_bits & _ENCRYPTED or entry.file_size > at_most:
            raise self._damaged(
                f"{record} has {entry.file_size} bytes, at most {at_most} expected, uncompressed"
            )
        if entry.header_offset + entry.file_size > self.size:
            raise self._damaged(f"{record} ends after the file's {self.size} bytes")
        with open_regular(self.path) as stream:
            content = self._content(stream, entry, record)
        if _checksum(content) != entry.CRC:
            raise self._damaged(f"{record} has another checksum")
        return content

    def _content(self, stream: BinaryIO, entry: zipfile.ZipInfo, record: str) -> bytearray:
        stream.seek(entry.header_offset)
        header = stream.read(_LOCAL_HEADER.size)
        signature, *lengths = _LOCAL_HEADER.unpack(header.ljust(_LOCAL_HEADER.size, b"\0"))
        if signature != _LOCAL_SIGNATURE:
            raise self._damaged(f"{record} does not lie where it should")
        stream.seek(sum(lengths), 1)
        content = bytearray(entry.file_size)
        if cast("BufferedReader", stream).readinto(content) != len(content):
            raise self._damaged(f"{record} ends after the file")
        return content

    def _damaged(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is damaged: {problem}")


class _BoundedStream:
    """A stream for zipfile that limits the size of the directory."""

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read

    def read(self, size: int = -1) -> bytes:
        """Reads; without a size these are the few bytes that a zip file ends with."""
        most = _MAX_DIRECTORY_BYTES + 1
        content = self._read(most if size < 0 else min(size, most))
        if len(content) > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(
                f"its directory has more than {_MAX_DIRECTORY_BYTES} bytes, which are not read"
            )
        return content


def _entries(stream: BinaryIO, path: Path) -> dict[str, zipfile.ZipInfo]:
    begins_as_zip = stream.read(len(_ZIP)) == _ZIP
    try:
        with zipfile.ZipFile(cast("BinaryIO", _BoundedStream(stream))) as archive:
            entries = archive.infolist()
    except _DAMAGED as error:
        if begins_as_zip:
            raise CheckpointError(f"{path} is truncated or damaged: {error}") from error
        raise CheckpointError(
            f"{path} is not in the form that torch saves in since its version 1.6"
        ) from error
    found = {entry.filename: entry for entry in entries}
    if len(found) < len(entries):
        raise CheckpointError(f"{path} is damaged: it has two records of one name")
    return found


def _checksum(content: bytearray) -> int:
    value = 0
    view = memoryview(content)
    for first in range(0, len(content), _CHUNK_BYTES):
        value = zlib.crc32(view[first : first + _CHUNK_BYTES], value)
    return value
