"""What `llmasos doctor` finds, with and without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from llmasos.cli.app import app
from llmasos.errors import ServerError
from llmasos_runtime import diagnosis
from llmasos_runtime.diagnosis import Finding, diagnose, find_gpus
from typer.testing import CliRunner

LISTING = "NVIDIA H100 80GB HBM3, 9.0, 81559 MiB, 580.65.06\nNVIDIA L4, 8.9, 23034 MiB, 580.65.06\n"


def saying(text: str, *, status: int = 0) -> list[str]:
    return [sys.executable, "-c", f"print({text!r}, end=''); raise SystemExit({status})"]


def of(subject: str, findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.subject == subject]


def test_each_gpu_is_a_line_with_its_compute_capability() -> None:
    assert of("GPU", diagnose(saying(LISTING))) == [
        "NVIDIA H100 80GB HBM3, sm90, 81559 MiB, driver 580.65.06",
        "NVIDIA L4, sm89, 23034 MiB, driver 580.65.06",
    ]


@pytest.mark.parametrize(
    "command", [["no-such-command"], saying("failed", status=9), saying("No devices were found")]
)
def test_without_a_driver_there_is_no_gpu_and_no_failure(command: list[str]) -> None:
    assert find_gpus(command) == []
    assert of("GPU", diagnose(command)) == ["none that NVIDIA's driver shows"]


def test_this_machine_can_run_plans_and_a_server() -> None:
    findings = diagnose()
    assert not any(finding.is_problem for finding in findings)
    (target,) = of("target openvino", findings)
    assert "int8" in target
    (server,) = of("Triton", findings)
    assert Path(server).is_file()


def test_a_missing_server_is_a_problem_and_an_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(run_dir: Path) -> None:
        raise ServerError("there is no tritonserver")

    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
    monkeypatch.setattr(diagnosis, "find_installation", find)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "missing: there is no tritonserver" in result.output
