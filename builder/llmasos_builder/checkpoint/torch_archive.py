"""The zip archive in which torch saves: records under one folder, none of them compressed."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

from llmasos.errors import CheckpointError
from llmasos.regular_file import open_regular

_RECORD = "data.pkl"
_ZIP = b"PK"
# What zipfile raises of one: names that are no text, records that are said to be encrypted.
_DAMAGED = (zipfile.BadZipFile, ValueError, EOFError, RuntimeError)


class TorchArchive:
    """An opened file; raises CheckpointError if it is none of these, or damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closing = ExitStack()
        with ExitStack() as opening:
            stream = opening.enter_context(open_regular(path))
            self._open(stream)
            self._closing = opening.pop_all()

    def _open(self, stream: BinaryIO) -> None:
        try:
            self._file = zipfile.ZipFile(stream)
        except _DAMAGED as error:
            raise CheckpointError(self._no_archive(stream, error)) from error
        found = [name for name in self._file.namelist() if PurePosixPath(name).name == _RECORD]
        if len(found) != 1:
            raise CheckpointError(
                f"{self._path} is no file of torch's: it has {len(found)} {_RECORD}"
            )
        self._folder = found[0].removesuffix(_RECORD)

    def __enter__(self) -> TorchArchive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()

    def description(self, *, at_most: int) -> bytes:
        """What describes the tensors: a pickle."""
        return self.read(_RECORD, at_most=at_most)

    def is_little_endian(self) -> bool:
        name = f"{self._folder}byteorder"
        return name not in self._file.namelist() or self.read("byteorder", at_most=16) == b"little"

    def read(self, record: str, *, at_most: int) -> bytes:
        """A record of at most so many bytes, whose checksum is right."""
        try:
            entry = self._file.getinfo(self._folder + record)
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > at_most:
                raise CheckpointError(
                    f"{self._path} is damaged: {record} has {entry.file_size} bytes, at most "
                    f"{at_most} expected, uncompressed"
                )
            return self._file.read(entry)
        except (KeyError, OSError, *_DAMAGED) as error:
            raise CheckpointError(f"{self._path} is damaged: {record} cannot be read") from error

    def _no_archive(self, stream: BinaryIO, error: Exception) -> str:
        stream.seek(0)
        if stream.read(len(_ZIP)) != _ZIP:
            return f"{self._path} is not in the form that torch saves in since its version 1.6"
        return f"{self._path} is truncated or damaged: {error}"
