"""A checkpoint may be anything: it is read or refused in one line, within seconds and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.cases import CASES

SUPPORT = Path(__file__).parents[2] / "support"
MAX_SECONDS, MAX_MEGABYTES = 15, 1200


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    folder = tmp_path_factory.mktemp("hostile")
    with subprocess.Popen(
        [sys.executable, "-m", "hostile.worker", folder],
        env={**os.environ, "PYTHONPATH": str(SUPPORT), "RUST_BACKTRACE": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_checkpoint_is_refused_in_one_line(
    worker: subprocess.Popen[str], name: str
) -> None:
    result, expected = ask(worker, name), CASES[name].message
    message = result["message"]
    assert result["ended"] == ("refused" if expected else "read"), message
    assert expected in message
    assert message.isprintable() and len(message) < 4200
    assert result["seconds"] < MAX_SECONDS
    assert result["megabytes"] < MAX_MEGABYTES


def ask(worker: subprocess.Popen[str], name: str) -> dict[str, Any]:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(f"{name}\n")
    worker.stdin.flush()
    result: dict[str, Any] = json.loads(worker.stdout.readline())
    return result
