"""The images without a Docker engine: what they copy exists, and what they install works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from llmasos_serving.triton.launcher import ServerOptions, TritonServer

ROOT = Path(__file__).parents[2]
CPU, GPU = (ROOT / "docker" / name for name in ("Dockerfile.cpu", "Dockerfile.gpu"))
both = pytest.mark.parametrize("dockerfile", [CPU, GPU], ids=lambda path: path.suffix[1:])
PATIENT_PIP = {**os.environ, "PIP_RETRIES": "10", "PIP_DEFAULT_TIMEOUT": "60"}


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction and its text, with continued lines joined and comments left out."""
    lines = (line for line in dockerfile.read_text().splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, text) for name, text in pairs]


def texts(name: str, dockerfile: Path = CPU) -> list[str]:
    return [text for instruction, text in instructions(dockerfile) if instruction == name]


def arguments(dockerfile: Path) -> dict[str, str]:
    """What can be said when the image is built, and what it is otherwise."""
    return dict(text.split("=", 1) for text in texts("ARG", dockerfile))


def copied(dockerfile: Path = CPU) -> list[str]:
    """What comes from the repository, relative to its root."""
    return [
        source
        for text in texts("COPY", dockerfile)
        if not text.startswith("--from")
        for source in text.split()[:-1]
    ]


def extras() -> dict[str, list[str]]:
    """What each extra installs; Python 3.10 has no reader of TOML."""
    project = (ROOT / "pyproject.toml").read_text()
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[project.")[0]
    found = re.findall(r"^([\w-]+) = \[(.*?)\]$", section, re.MULTILINE | re.DOTALL)
    return {name: re.findall(r'"([^"]+)"', items) for name, items in found}


@both
def test_what_is_copied_exists_and_is_not_ignored(dockerfile: Path) -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert set(copied(dockerfile)) == kept
    assert all((ROOT / source).exists() for source in copied(dockerfile))


@both
def test_it_does_not_run_as_root_and_its_volumes_are_the_users(dockerfile: Path) -> None:
    (user,) = texts("USER", dockerfile)
    assert int(user) > 0
    names = [name for name, _ in instructions(dockerfile)]
    assert names.index("USER") < names.index("ENTRYPOINT")
    (made,) = (text for text in texts("RUN", dockerfile) if "useradd" in text)
    assert f"--uid {user} " in made
    (volumes,) = texts("VOLUME", dockerfile)
    assert made.endswith(f"install -d -o llmasos {volumes}")


def test_its_python_is_one_that_the_product_supports() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f"Python :: {arguments(CPU)['PYTHON_VERSION']}" in project


def test_the_gpu_image_is_nvidias_server_in_both_stages() -> None:
    base = "nvcr.io/nvidia/tritonserver:${TRITON_TAG}"
    assert texts("FROM", GPU) == [f"{base} AS install", base]
    # A venv finds its python3 where it was made, so that the stages must be of one image.
    assert re.fullmatch(r"\d\d\.\d\d-py3", arguments(GPU)["TRITON_TAG"])
    names = [name for name, _ in instructions(GPU)]
    assert names.index("ARG") < names.index("FROM"), "both stages must see the tag"
    assert texts("ENV", GPU)[0].startswith("PATH=/opt/llmasos/bin:/opt/tritonserver/bin:$PATH ")


def test_every_extra_that_the_gpu_image_names_is_declared_for_the_same_cuda() -> None:
    assert arguments(GPU)["EXTRA"] == "tensorrt-rtx"
    comment = " ".join(line[2:] for line in GPU.read_text().splitlines() if line.startswith("# "))
    named = re.findall(r"(tensorrt[\w-]*) (?:for|to) ", comment[comment.index("EXTRA:") :])
    assert named == ["tensorrt-rtx", "tensorrt", "tensorrt-llm"]
    assert set(named) <= extras().keys()
    assert "tensorrt-rtx-cu13" in extras()["tensorrt-rtx"][0]
    for_cuda_13 = "cuda-bindings>=13,<14"
    assert for_cuda_13 in extras()["tensorrt-rtx"] and for_cuda_13 in extras()["tensorrt"]


def test_the_gpu_image_installs_and_serves_as_the_cpu_image_does() -> None:
    """Its install lines, but for the extra, are those that run below; so is its health check."""
    mine = [line for line in texts("RUN", GPU) if "apt-get" not in line and "useradd" not in line]
    theirs = texts("RUN", CPU)[:2]
    assert mine == [
        theirs[0].replace("python ", "python3 ", 1),
        theirs[1].removesuffix(" .") + ' ".[${EXTRA}]"',
    ]
    for name in ("HEALTHCHECK", "ENTRYPOINT", "EXPOSE", "USER"):
        assert texts(name, GPU) == texts(name, CPU)


@pytest.mark.parametrize(
    ("service", "dockerfile"), [("llmasos", CPU), ("llmasos-gpu", GPU)], ids=["cpu", "gpu"]
)
def test_the_compose_file_agrees_with_the_image(service: str, dockerfile: Path) -> None:
    compose: Any = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    said = compose["services"][service]
    built = ROOT / "docker" / said["build"]["context"] / said["build"]["dockerfile"]
    assert built.resolve() == dockerfile
    published = [port.split(":")[-1] for port in said["ports"]]
    assert sorted(published) == texts("EXPOSE", dockerfile)[0].split()
    assert all(port.startswith("127.0.0.1:") for port in said["ports"])
    assert (said["read_only"], said["tmpfs"], said["cap_drop"]) == (True, ["/tmp"], ["ALL"])
    named = [volume.split(":") for volume in said["volumes"]]
    assert [path for _, path in named] == texts("VOLUME", dockerfile)[0].split()
    assert {name for name, _ in named} <= compose["volumes"].keys()


def test_the_gpu_service_is_asked_for_and_gets_a_gpu() -> None:
    compose: Any = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    cpu, gpu = (compose["services"][name] for name in ("llmasos", "llmasos-gpu"))
    assert gpu["profiles"] == ["gpu"] and "profiles" not in cpu and "deploy" not in cpu
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    for name, value in arguments(GPU).items():
        assert gpu["build"]["args"][name] == f"${{{name}:-{value}}}"
    assert gpu["command"] == [f"${{MODEL:-{json.loads(texts('CMD', GPU)[0])[0]}}}"]


@pytest.mark.timeout(600)
def test_the_install_lines_give_a_product_that_works(tmp_path: Path) -> None:
    source, prefix = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    for line in texts("RUN")[:2]:
        command = line.replace("/opt/llmasos", str(prefix)).replace("--no-cache-dir ", "")
        command = re.sub(r"^python ", f"{sys.executable} ", command)
        subprocess.run(
            command, shell=True, check=True, cwd=source, capture_output=True, env=PATIENT_PIP
        )
    shutil.rmtree(source)
    code = (
        "from pathlib import Path\n"
        "from llmasos_builder.repository import write_repository\n"
        "import llmasos_builder.build, llmasos_runtime.engine.engine, llmasos_app.llm\n"
        "write_repository(Path('repository'))\n"
    )
    subprocess.run([prefix / "bin" / "python", "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "repository" / "engine" / "1" / "model.py").is_file()
    help_text = subprocess.run(
        [prefix / "bin" / "llmasos", "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert "serve" in help_text


@pytest.mark.server
def test_the_health_check_asks_for_a_token(tiny_repository: Path) -> None:
    (health,) = texts("HEALTHCHECK")
    command: list[str] = json.loads(health[health.index("[") :])
    command[0] = str(Path(sys.executable).parent / command[0])
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)

    def status() -> int:
        return subprocess.run(command, timeout=120, capture_output=True, check=False).returncode

    with TritonServer(tiny_repository, options) as server:
        command[command.index("--url") + 1] = server.grpc_url
        assert status() == 0
        server.stop(drain=False)
    assert status() != 0
