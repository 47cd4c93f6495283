"""The harness' model is reached under the name that its users know."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import fake_harness
import pytest


def test_the_model_is_found_under_its_stable_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_harness.load_model(monkeypatch)
    monkeypatch.delitem(sys.modules, "llmasos.lm_eval", raising=False)
    from llmasos.lm_eval import LLMasOSModel

    assert LLMasOSModel.__module__ == "llmasos_app.lm_eval"
    monkeypatch.delitem(sys.modules, "llmasos_app.lm_eval")


@pytest.mark.skipif(find_spec("lm_eval") is not None, reason="lm_eval is installed")
def test_a_harness_that_is_not_installed_is_one_line() -> None:
    command = [sys.executable, "-m", "llmasos.lm_eval", "run"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "error: lm_eval is not installed; pip install 'llmasos[evaluate]'\n"
