"""What tritonserver writes while it runs: how far loading is, and why it failed."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LOADED = re.compile(r"successfully loaded '(\w+)'")
_LOST_A_PORT = re.compile(r"Socket '([^']+)' already in use")
_TAIL_LINES = 12
_MAX_BYTES = 1 << 20


class ServerLog:
    """Reads a log file that another process writes."""

    def __init__(self, path: Path) -> None:
        """path: a file that exists. It stays readable after it has been removed."""
        self.path = path
        self._stream = path.open("rb")

    def close(self) -> None:
        """Let go of the file; nothing can be read afterwards."""
        self._stream.close()

    def loaded(self) -> set[str]:
        """Models that are loaded."""
        return set(_LOADED.findall(self._text()))

    def reason(self) -> str:
        """The error that a Python model gave, the port that was lost, or the last lines."""
        text = self._text()
        lost = _LOST_A_PORT.search(text)
        if lost is not None:
            return f"another program took {lost[1]} while the models were loaded"
        lines = text.splitlines()
        for line in lines:
            if "Internal: " in line and "Error: " in line:
                return line.partition("Internal: ")[2].partition("\\n")[0].strip(' "')
        return " / ".join(line.strip() for line in lines[-_TAIL_LINES:] if line.strip())

    def lost_a_port(self) -> bool:
        """Whether another program has a port that the server wanted to open."""
        return bool(_LOST_A_PORT.search(self._text()))

    def tail(self) -> str:
        """The last lines as they stand."""
        return "\n".join(self._text().splitlines()[-_TAIL_LINES:])

    def _text(self) -> str:
        size = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(max(0, size - _MAX_BYTES))
        return self._stream.read().decode("utf-8", "replace")
