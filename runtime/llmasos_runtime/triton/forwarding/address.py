"""The address at which an engine's process takes requests of the other models of its server."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def engine_address(repository: Path, model: str) -> str:
    """Returns the name of an abstract Unix socket, the same in all processes of one server.

    repository: the model repository. model: the engine's name in it. The name tells apart servers
    of one machine, also those of containers that share a network, and a later server whose process
    got the number of an earlier one.
    """
    server = os.getppid()
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    place = hashlib.sha256(f"{repository.resolve()}/{model}".encode()).hexdigest()[:16]
    return f"\0llmasos-{namespace}-{server}-{_start_time(server)}-{place}"


def _start_time(process: int) -> str:
    """Clock ticks from the start of the machine to that of a process (see proc(5))."""
    behind_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
    return behind_name.split()[19]
