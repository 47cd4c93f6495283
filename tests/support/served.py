"""`llmasos serve` in a process of its own, with all of its doors, as an operator runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from llmasos_serving.triton import process_guard
from patience import PATIENCE_S, wait_until

WORDS = {
    "gateway": "llmasos_serving.gateway",
    "guard": str(process_guard.__file__),
    "engine": "/engine/1/model.py",
    "tokenizer": "/tokenizer/1/model.py",
    "detokenizer": "/detokenizer/1/model.py",
    "tritonserver": "--model-control-mode=none",
}
"""What stands in the command of each process."""
_PORTS = ("--grpc-port", "--http-port", "--metrics-port", "--openai-port")


class Served:
    """The process, and what it says, with the time of each line. url: of the gateway."""

    def __init__(self, repository: Path | str, *options: str) -> None:
        ports = [word for port in _PORTS for word in (port, "0")]
        program = [sys.executable, "-c", "from llmasos_app.cli import main; main()"]
        self.process = subprocess.Popen(
            [*program, "serve", str(repository), *ports, *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: self.said("OpenAI's API") or self.process.poll() is not None)
        assert self.process.poll() is None, self.text
        self.url = self.text.split("a page to chat ")[1].split("\n")[0].rstrip("/")
        with urllib.request.urlopen(f"{self.url}/v1/models") as models:
            self.model = str(json.load(models)["data"][0]["id"])

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    @property
    def text(self) -> str:
        return "".join(line for _, line in self._lines)

    def said(self, words: str, since: float = 0.0) -> float | None:
        """When a line with these words came, after a time."""
        return next((at for at, line in list(self._lines) if at >= since and words in line), None)

    def tree(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def one(self, name: str) -> psutil.Process:
        """The process of this name, of those in WORDS."""
        return self.all()[name]

    def all(self) -> dict[str, psutil.Process]:
        """All processes of WORDS that run."""
        found: dict[str, psutil.Process] = {}
        for process in self.tree():
            try:
                command = " ".join(process.cmdline())
            except psutil.Error:
                continue
            guarded = WORDS["guard"] in command
            for name, words in WORDS.items():
                if words in command and guarded == (name == "guard"):
                    found[name] = process
        return found

    def ask(self, **fields: Any) -> Any:
        body = {"model": self.model, "prompt": "abc", "max_tokens": 8, "ignore_eos": True, **fields}
        request = urllib.request.Request(
            f"{self.url}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        return urllib.request.urlopen(request, timeout=PATIENCE_S)

    def answer(self, **fields: Any) -> str | None:
        """The text of one answer; None while there is none, and an error says to retry."""
        try:
            with self.ask(**fields) as response:
                text: str = json.load(response)["choices"][0]["text"]
                return text
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == 503
                assert error.headers["Retry-After"]
        except OSError:  # the gateway itself is gone
            pass
        return None

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append((time.monotonic(), line))
