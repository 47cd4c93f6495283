"""A checkpoint may be anything: it is read or refused in one line, within seconds and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile.cases import CASES

SUPPORT = Path(__file__).parents[2] / "support"
MAX_SECONDS, MAX_MEGABYTES = 15, 1200


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("hostile")
    ran = subprocess.run(
        [sys.executable, "-m", "hostile.worker", folder],
        env={**os.environ, "PYTHONPATH": str(SUPPORT), "RUST_BACKTRACE": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    found: dict[str, dict[str, Any]] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_checkpoint_is_refused_in_one_line(
    results: dict[str, dict[str, Any]], name: str
) -> None:
    result, expected = results[name], CASES[name].message
    message = result["message"]
    assert result["ended"] == ("refused" if expected else "read"), message
    assert expected in message
    assert message.isprintable() and len(message) < 4200
    assert result["seconds"] < MAX_SECONDS
    assert result["megabytes"] < MAX_MEGABYTES
