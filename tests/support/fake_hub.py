"""A small HTTP server that speaks as much of the Hugging Face hub's API as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """One repository at one commit, under two revisions; fetched: the files that were read."""

    repository: str
    directory: Path
    revisions: tuple[str, ...] = ("main", "v1", COMMIT)
    url: str = ""
    fetched: list[str] = field(default_factory=list[str])

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path of the API or of a file."""
        if path.startswith("/api/models/"):
            return self._answer_api(path.removeprefix("/api/models/"))
        repository, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository != self.repository:
            return _error(404, "RepoNotFound")
        if revision not in self.revisions:
            return _error(404, "RevisionNotFound")
        file = self.directory / name
        if not file.is_file():
            return _error(404, "EntryNotFound")
        content = file.read_bytes()
        self.fetched.append(name)
        return 200, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT}, content

    def _answer_api(self, path: str) -> tuple[int, dict[str, str], bytes]:
        repository, kind, revision = _split(path)
        if repository == "gated/model":
            return _error(403, "GatedRepo")
        if repository != self.repository:
            return _error(401, "RepoNotFound")
        if revision not in self.revisions:
            return _error(404, "RevisionNotFound")
        files = sorted(p for p in self.directory.iterdir() if p.is_file())
        if kind == "tree":
            return _json([_tree_entry(file) for file in files])
        siblings = [{"rfilename": file.name} for file in files]
        return _json({"id": repository, "sha": COMMIT, "siblings": siblings})


def _split(path: str) -> tuple[str, str, str]:
    for kind in ("tree", "revision"):
        repository, found, revision = path.partition(f"/{kind}/")
        if found:
            return repository, kind, revision
    return path, "revision", "main"


def _tree_entry(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {"type": "file", "path": file.name, "size": len(content), "oid": _digest(content)}


def _digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}"


@contextmanager
def running(hub: FakeHub) -> Generator[FakeHub]:
    """The hub on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = hub.answer(urlsplit(self.path).path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - as http.server calls it

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
