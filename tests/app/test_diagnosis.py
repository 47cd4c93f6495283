"""What `llmasos doctor` finds, with and without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from llmasos.errors import ServerError
from llmasos_app import diagnosis
from llmasos_app.cli.app import app
from llmasos_app.diagnosis import diagnose
from llmasos_app.finding import Finding
from llmasos_runtime.machine.resources import cpu_features
from llmasos_runtime.tensorrt.machine import Library
from made_machine import GIB, H100, L4, MadeMachine, driver
from typer.testing import CliRunner

RTX = {"tensorrt_rtx": Library(version="1.7.1.116", cuda_major=13)}
BOTH = {**RTX, "tensorrt": Library(version="11.4.0.106", cuda_major=None)}


def of(subject: str, findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.subject == subject]


def on(**machine: object) -> list[Finding]:
    return diagnose(MadeMachine(**machine))  # type: ignore[arg-type]  # a test says what it likes


def test_each_gpu_is_a_line_with_its_compute_capability_and_memory() -> None:
    findings = on(report=driver(H100, replace(L4, free_bytes=GIB)))
    assert of("NVIDIA driver", findings) == ["580.65.06, for CUDA up to 13.0"]
    assert of("GPU 0", findings) == ["NVIDIA H100, sm90, 78.0 of 80.0 GiB free"]
    assert of("GPU 1", findings) == ["NVIDIA L4, sm89, 1.0 of 24.0 GiB free"]


def test_without_a_driver_or_gpu_there_is_no_failure() -> None:
    findings = on(report=None)
    assert of("NVIDIA driver", findings) == ["none (libcuda.so.1 is missing)"]
    assert not any(finding.subject.startswith("GPU") for finding in findings)
    assert of("GPU", on(report=driver(version=None))) == ["none that the driver shows"]
    failing = replace(driver(), error="NVIDIA's driver answers cuInit with error 999")
    assert of("GPU", on(report=failing)) == [failing.error]


def test_each_library_is_named_or_its_extra() -> None:
    findings = on(libraries=RTX)
    assert of("tensorrt_rtx", findings) == ["1.7.1.116 for CUDA 13"]
    assert of("tensorrt", findings) == ["not installed; pip install 'llmasos[tensorrt]'"]
    assert of("tensorrt", on(libraries=BOTH)) == ["11.4.0.106"]
    assert of("cuda-bindings", on()) == ["13.5.0"]
    assert "pip install" in of("cuda-bindings", on(bindings=None))[0]


def test_the_target_says_what_each_library_can_do_here() -> None:
    def target(**machine: object) -> list[str]:
        return of("target tensorrt", on(**machine))

    (nothing,) = target()
    assert "nothing here compiles or runs" in nothing
    (rtx,) = target(libraries=RTX, report=driver(L4, H100, L4))
    assert "compiles for sm75" in rtx and rtx.endswith("runs plans for sm89 here")
    rtx, full = target(libraries=BOTH, report=driver(H100))
    assert rtx.endswith("runs no plan here: it does not serve sm90")
    assert full == "tensorrt compiles for this machine's GPU and runs plans for sm90 here"
    (unbound,) = target(libraries=RTX, bindings=None)
    assert unbound.endswith("runs no plan here: cuda-bindings is not installed")
    (idle,) = target(libraries=RTX, report=driver())
    assert idle.endswith("runs no plan here: there is no GPU")
    (old,) = target(libraries=RTX, report=driver(L4, cuda=(12, 8)))
    assert "runs no plan here" in old and "install driver 580 or newer" in old
    (without,) = target(libraries=RTX, report=None)
    assert "no NVIDIA driver" in without


def test_this_machine_can_run_plans_and_a_server() -> None:
    findings = diagnose()
    assert not any(finding.is_problem for finding in findings)
    (target,) = of("target openvino", findings)
    assert "int8" in target
    (server,) = of("Triton", findings)
    assert "llmasos serve" in server or Path(server.partition(",")[0]).is_file()
    (cpu,) = of("CPU", findings)
    assert all(feature in cpu for feature in cpu_features())


def test_a_server_on_the_path_says_its_version_where_the_container_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = tmp_path / "bin" / "tritonserver"
    server.parent.mkdir()
    server.touch(0o755)
    monkeypatch.setenv("PATH", str(server.parent))
    monkeypatch.setenv("TRITON_SERVER_VERSION", "2.66.0")
    assert of("Triton", diagnose()) == [f"{server}, 2.66.0"]
    monkeypatch.delenv("TRITON_SERVER_VERSION")
    assert of("Triton", diagnose()) == [str(server)]


def test_a_missing_server_is_a_problem_and_an_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe() -> str:
        raise ServerError("there is no tritonserver")

    monkeypatch.setattr(diagnosis, "describe_server", lambda: "/opt/tritonserver")
    found = CliRunner().invoke(app, ["doctor"])
    assert found.exit_code == 0
    assert "llmasos[tensorrt-llm]" in found.output
    monkeypatch.setattr(diagnosis, "describe_server", describe)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "problem: there is no tritonserver" in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx2 sse avx512_bf16 amx_int8\nflags: avx512f\n",
         ("avx2", "avx512_bf16", "amx_int8")),
        ("Features\t: fp asimd i8mm bf16\n", ("asimd", "i8mm", "bf16")),
        ("model name : one without a list\n", ()),
    ],
)  # fmt: skip
def test_the_processors_matrix_instructions_are_found(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_features(tmp_path / "cpuinfo") == expected


@pytest.mark.parametrize(
    ("kind", "installed", "text"),
    [
        (
            None,
            (),
            "needs a processor of kind avx512-vnni or avx-vnni or avx2; this one runs "
            "openvino plans",
        ),
        ("avx512-vnni", (), "has code for this processor (avx512-vnni); not installed; pip "),
        ("avx512-vnni", ("llvmlite",), "runs (without numba) int8 and int4 plans of decoders"),
        ("avx512-vnni", ("llvmlite", "numba"), "builds and runs int8 and int4 plans of decoders"),
    ],
)
def test_the_native_target_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, installed: tuple[str, ...], text: str
) -> None:
    monkeypatch.setattr(diagnosis, "this_cpu_kind", lambda: kind)
    monkeypatch.setattr(
        diagnosis, "installed_version", lambda name: "1.0" if name in installed else None
    )
    (found,) = of("target native", on(report=None))
    assert found.startswith(text)
