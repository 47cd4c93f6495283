"""The dashboard and the alert rules ask for metrics that a server shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_backend import FakeBackend, FakeMetricFamily
from llmasos_runtime.engine.metrics import METRICS
from llmasos_runtime.triton.engine_metrics import EngineMetrics

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
PROMTOOL = shutil.which("promtool")
NAME = re.compile(r"\bnv_[a-z0-9_]+")


def expressions() -> list[str]:
    board = json.loads((MONITORING / "dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules: Any = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return asked + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_every_metric_that_is_asked_for_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: set[str] = set()

    class Noted(FakeMetricFamily):
        def __init__(self, *, name: str, description: str, kind: str) -> None:
            super().__init__(name=name, description=description, kind=kind)
            shown.add(name)

    monkeypatch.setattr(FakeBackend, "MetricFamily", Noted)
    EngineMetrics(FakeBackend)
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert asked
    assert asked <= shown


def test_every_label_that_is_asked_for_is_one_of_the_table() -> None:
    known = {(metric.family.label, metric.label_value) for metric in METRICS}
    labels = re.compile(r'(\w+_type)="([^"]+)"')
    asked = {pair for expression in expressions() for pair in labels.findall(expression)}
    assert asked
    assert asked <= known


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt install prometheus")
def test_prometheus_takes_the_rules() -> None:
    command = [str(PROMTOOL), "check", "rules", str(MONITORING / "alerts.yaml")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
