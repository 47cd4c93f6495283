"""A virtual environment for each peer, so that their packages never meet."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALLED_FILE = "installed.json"


class MissingPeerError(Exception):
    """A peer cannot run here; the message is the last line of the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Packages in a directory of their own.

    needs_torch: the CPU build of torch comes first, from the index that the environment
    variable TORCH_INDEX names if one is needed.
    variables: set while installing; those that the caller has set win.
    """

    directory: Path
    requirements: tuple[str, ...]
    needs_torch: bool = False
    variables: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    def ensure(self) -> Path:
        """The environment's Python, installing what is missing; raises MissingPeerError."""
        if not self._is_installed():
            shutil.rmtree(self.directory, ignore_errors=True)
            run_or_miss([sys.executable, "-m", "venv", str(self.directory)])
            if self.needs_torch:
                index = os.environ.get("TORCH_INDEX", "")
                run_or_miss(["scripts/install-torch", str(self.python), index])
            pip = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check"]
            run_or_miss([*pip, *self.requirements], variables=self.variables)
            (self.directory / INSTALLED_FILE).write_text(self._stamp)
        return self.python

    def _is_installed(self) -> bool:
        """Whether the last installation here finished and was of the same requirements."""
        stamp = self.directory / INSTALLED_FILE
        return stamp.is_file() and stamp.read_text() == self._stamp

    @property
    def _stamp(self) -> str:
        return json.dumps({"torch": self.needs_torch, "requirements": self.requirements})


def run_or_miss(command: list[str], *, variables: Mapping[str, str] | None = None) -> None:
    """Run a command in the repository's root; raises MissingPeerError with its last line."""
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**(variables or {}), **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        raise MissingPeerError(last_line(result.stdout))


def last_line(output: str) -> str:
    """The last line of a failed command that says what is wrong.

    pip prints notices after its errors, so a line that begins with "error" goes first.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["it failed and printed nothing"])[-1]
