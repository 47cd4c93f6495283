"""The process of one peer: JSON lines in on standard input, one JSON line back for each.

    {"command": "load", "settings": {...}, "packages": [...]}  -> {"load_s", "versions", ...}
    {"command": "run", "prompts": [...], "num_new_tokens": n}  -> {"times_s", "token_ids", ...}
    {"command": "close"}                                       -> {}

A failure is answered with {"error": one line}. Whatever the peer's library prints goes to
standard error. Run as `python -m benchmarks.peers.host MODULE`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any, TextIO

from benchmarks.peers.peer import Peer, PeerSettings, Prompt


class Host:
    """Answers the commands for one peer, which exists from `load` to `close`."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._peer: Peer | None = None

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        module = importlib.import_module(self._module)
        self._peer = peer = module.load(PeerSettings(**request["settings"]))
        load_s = time.perf_counter() - start
        versions = {package: version(package) for package in request["packages"]}
        return {"load_s": load_s, "versions": versions, "details": peer.details}

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._peer is not None, "run before load"
        prompts = [
            Prompt(text=p["text"], token_ids=tuple(p["token_ids"])) for p in request["prompts"]
        ]
        cpu = time.process_time()
        wall = time.perf_counter()
        recording = self._peer.run(prompts, request["num_new_tokens"])
        return {
            "times_s": recording.times_s,
            "token_ids": recording.token_ids,
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "peak_memory_bytes": self._peer.peak_memory_bytes(),
        }

    def close(self, request: dict[str, Any]) -> dict[str, Any]:
        del request
        if self._peer is not None:
            self._peer.close()
        return {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one command; the boundary where a failure becomes a line of text."""
        commands = {"load": self.load, "run": self.run, "close": self.close}
        try:
            return commands[request["command"]](request)
        except Exception as error:  # noqa: BLE001 - the process boundary: any failure is reported
            text = str(error).strip() or repr(error)
            return {"error": f"{type(error).__name__}: {text.splitlines()[-1]}"}


def main() -> None:
    sys.modules["openvino_telemetry"] = None  # openvino then has a stub that reports nothing
    replies = _claim_standard_output()
    host = Host(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(host.answer(request)), file=replies, flush=True)
        if request["command"] == "close":
            break


def _claim_standard_output() -> TextIO:
    """Keep the pipe to the coordinator for replies; what libraries print goes to stderr."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


if __name__ == "__main__":
    main()
