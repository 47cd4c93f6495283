"""The images without a Docker engine: what they copy exists, and what they install works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # has no stubs
from llmasos_runtime.triton.launcher import ServerOptions, TritonServer

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile.cpu"


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its text, with continued lines joined and comments left out."""
    lines = (line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, text) for name, text in pairs]


def texts(name: str) -> list[str]:
    return [text for instruction, text in instructions() if instruction == name]


def copied() -> list[str]:
    """What comes from the repository, relative to its root."""
    return [
        source
        for text in texts("COPY")
        if not text.startswith("--from")
        for source in text.split()[:-1]
    ]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert set(copied()) == kept
    assert all((ROOT / source).exists() for source in copied())


def test_it_does_not_run_as_root() -> None:
    (user,) = texts("USER")
    assert int(user) > 0
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_its_python_is_one_that_the_product_supports() -> None:
    (version,) = texts("ARG")
    project = (ROOT / "pyproject.toml").read_text()
    assert f"Python :: {version.removeprefix('PYTHON_VERSION=')}" in project


def test_the_compose_file_agrees_with_the_image() -> None:
    compose: Any = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    service = compose["services"]["llmasos"]
    assert (
        ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]
    ).is_file()
    published = [port.split(":")[-1] for port in service["ports"]]
    assert sorted(published) == texts("EXPOSE")[0].split()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"] is True
    assert [volume.split(":")[1] for volume in service["volumes"]] == texts("VOLUME")


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
        subprocess.run(command, shell=True, check=True, cwd=source, capture_output=True)
    shutil.rmtree(source)
    code = (
        "from pathlib import Path\n"
        "from llmasos_builder.repository import write_repository\n"
        "import llmasos_builder.build, llmasos_runtime.engine, llmasos.llm\n"
        "write_repository(Path('repository'))\n"
    )
    subprocess.run([prefix / "bin" / "python", "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "repository" / "engine" / "1" / "model.py").is_file()
    help_text = subprocess.run(
        [prefix / "bin" / "llmasos", "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert "serve" in help_text


def test_the_health_check_asks_for_a_token(tiny_repository: Path) -> None:
    (health,) = texts("HEALTHCHECK")
    command: list[str] = json.loads(health[health.index("[") :])
    command[0] = str(Path(sys.executable).parent / command[0])
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)
    with TritonServer(tiny_repository, options) as server:
        command[command.index("--url") + 1] = server.grpc_url
        assert subprocess.run(command, timeout=60, capture_output=True, check=False).returncode == 0
    assert subprocess.run(command, timeout=60, capture_output=True, check=False).returncode != 0
