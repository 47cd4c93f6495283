"""What tritonserver writes while it runs: how far loading is, and why it failed."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from llmasos.errors import ServerError

from llmasos_serving.triton.load_failure import find_failure, first_error

_LOADED = re.compile(r"successfully loaded '([\w.-]+)'")
_LOST_A_PORT = re.compile(r"Socket '([^']+)' already in use")
_TAIL_LINES = 12
_MAX_BYTES = 1 << 20
_PROBE_BYTES = 1 << 16


class ServerLog:
    """A file that a server writes, and this process reads.

    stream: where the server writes. path: the file, or None for one without a name, which is
    gone when nobody has it open any more. What stood in the file before is not read.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Raises ServerError for a file that cannot be written, as on a full disk."""
        try:
            with ExitStack() as undone:
                self.stream = undone.enter_context(_open(path))
                self._begin = self.stream.seek(0, os.SEEK_END)
                # A server whose log cannot be written looks as one that never gets ready.
                self.stream.write(bytes(_PROBE_BYTES))
                self.stream.truncate(self._begin)
                self.stream.seek(self._begin)
                undone.pop_all()
        except OSError as error:
            raise _refusal(path, error) from error
        self._shown: dict[str, str] = {}

    def close(self) -> None:
        """Let go of the file; nothing can be read afterwards."""
        self.stream.close()

    def show(self, link: Path, target: Path) -> None:
        """From now on, name the target where the server names the link."""
        self._shown[str(link)] = str(target)

    def loaded(self) -> set[str]:
        """Models that are loaded."""
        return set(_LOADED.findall(self._text()))

    def failure(self) -> ServerError | None:
        """Why the server does not start, where the log says so."""
        found = find_failure(self._text())
        return None if found is None else ServerError(found.message, hint=found.hint)

    def error(self, event: str) -> ServerError:
        """Why the server does not start, or else what happened and what the log says of it."""
        text = self._text()
        lines = [line.strip() for line in text.splitlines()[-_TAIL_LINES:]]
        said = first_error(text) or " / ".join(filter(None, lines))
        return self.failure() or ServerError(f"{event}: {said}")

    def lost_a_port(self) -> bool:
        """Whether another program has a port that the server wanted to open."""
        return bool(_LOST_A_PORT.search(self._text()))

    def tail(self) -> str:
        """The last lines as they stand."""
        return "\n".join(self._text().splitlines()[-_TAIL_LINES:])

    def _text(self) -> str:
        descriptor = self.stream.fileno()
        begin = max(self._begin, os.fstat(descriptor).st_size - _MAX_BYTES)
        # The server's descriptor shares its position with this one: it must not be moved.
        text = os.pread(descriptor, _MAX_BYTES, begin).decode("utf-8", "replace")
        for link, target in self._shown.items():
            text = text.replace(link, target)
        return text


def _open(path: Path | None) -> IO[bytes]:
    if path is None:
        return tempfile.TemporaryFile(buffering=0)
    return path.open("a+b", buffering=0)


def _refusal(path: Path | None, error: OSError) -> ServerError:
    where = "a temporary file" if path is None else str(path)
    return ServerError(
        f"the server's log cannot be written to {where} ({error.strerror})",
        hint="TMPDIR names a directory for temporary files" if path is None else None,
    )
