"""The coordinator's end of one peer's process."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from llmasos.usage_reports import SWITCHES

from benchmarks.environments import ROOT, MissingPeerError
from benchmarks.peers.peer import PeerSettings, Prompt

REPLY_TIMEOUT_S = 1800.0
CLOSE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What loading took, which versions were loaded, and what the peer says of itself."""

    load_s: float
    details: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One burst of prompts through one peer.

    times_s: for each stream, when each token came. token_ids: the tokens, empty where
    the peer gives text alone. wall_s, cpu_s: of the worker's own process.
    """

    times_s: list[list[float]]
    token_ids: list[list[int]]
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int


class Worker:
    """A peer in a process of its own; every failure in there is a MissingPeerError here."""

    def __init__(
        self, python: Path, module: str, *, log: Path, variables: Mapping[str, str]
    ) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.peers.host", module],
                cwd=ROOT,
                env={**SWITCHES, **os.environ, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    def load(self, settings: PeerSettings, *, packages: Sequence[str]) -> Load:
        reply = self._ask({"command": "load", "settings": asdict(settings), "packages": packages})
        return Load(**reply)

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Run:
        """Raises MissingPeerError when the peer fails or gives another number of tokens."""
        sent = [asdict(prompt) for prompt in prompts]
        command = {"command": "run", "prompts": sent, "num_new_tokens": num_new_tokens}
        run = Run(**self._ask(command))
        counts = {len(stream) for stream in run.times_s}
        if counts != {num_new_tokens}:
            raise MissingPeerError(f"gave {sorted(counts)} tokens a stream, not {num_new_tokens}")
        return run

    def cpu_time_s(self) -> float:
        """CPU time that this process and its children have used since they began."""
        return sum(_cpu_time_s(process) for process in self._family())

    def _family(self) -> list[psutil.Process]:
        """The worker and what it started; empty when it has ended."""
        try:
            process = psutil.Process(self._process.pid)
            return [*process.children(recursive=True), process]
        except psutil.NoSuchProcess:
            return []

    def close(self) -> None:
        """Let the peer end by itself; after half a minute, end it."""
        try:
            if self._process.poll() is None:
                self._ask({"command": "close"}, timeout_s=CLOSE_TIMEOUT_S)
            self._process.wait(timeout=CLOSE_TIMEOUT_S)
        except (MissingPeerError, subprocess.TimeoutExpired):
            for process in self._family():
                process.kill()
        with self._process:  # closes the pipes, and waits
            pass

    def _ask(self, request: dict[str, Any], *, timeout_s: float = REPLY_TIMEOUT_S) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise MissingPeerError(self._why_it_ended()) from error
        readable, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not readable:
            raise MissingPeerError(f"no answer to {request['command']} in {timeout_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise MissingPeerError(self._why_it_ended())
        reply = json.loads(line)
        if "error" in reply:
            raise MissingPeerError(reply["error"])
        return reply

    def _why_it_ended(self) -> str:
        status = self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        return f"its process ended with status {status}: {last}"


def _cpu_time_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
