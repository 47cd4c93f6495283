"""The README's commands and programs run as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from llmasos_app.cli.options import PRECISIONS
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

README = Path(__file__).parents[1] / "README.md"
SWIG = "ignore:builtin type:DeprecationWarning"
"""Of sentencepiece, which gguf imports where it is installed; as an error it ends in a crash."""
BLOCK = re.compile(r"<!-- test: (\w+) -->\n```(\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    kind: str
    language: str
    code: str


def blocks(kind: str) -> list[Block]:
    found = [Block(*match) for match in BLOCK.findall(README.read_text())]
    assert found, "the README has no marked blocks"
    return [block for block in found if block.kind == kind]


def run(block: Block, directory: Path) -> str:
    """Standard output of a block, with this environment's commands first on PATH."""
    command = (
        ["bash", "-euo", "pipefail", "-c"]
        if block.language == "sh"
        else [sys.executable, "-W", "error", "-W", SWIG, "-c"]
    )
    bin_dir = str(Path(sys.executable).parent)
    result = subprocess.run(
        [*command, block.code],
        cwd=directory,
        env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.server
@pytest.mark.network
def test_the_commands_work_and_the_model_knows_paris(tmp_path: Path) -> None:
    (block,) = blocks("shell")
    answers = run(block, tmp_path)
    assert "LlamaForCausalLM" in answers
    assert "The capital of France is Paris" in answers


@pytest.mark.network
def test_the_program_in_process_works(tmp_path: Path) -> None:
    (block,) = blocks("python")
    assert "The capital of France is Paris" in run(block, tmp_path)


@pytest.mark.server
def test_the_programs_that_ask_a_server_work(smollm2_repository: Path, tmp_path: Path) -> None:
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)
    with TritonServer(smollm2_repository, options) as server:
        for block in blocks("served"):
            if "curl" in block.code and shutil.which("curl") is None:
                continue  # Triton's HTTP endpoint has tests of its own
            code = block.code.replace("localhost:8001", server.grpc_url.removeprefix("grpc://"))
            code = code.replace("localhost:8000", server.http_url.removeprefix("http://"))
            answer = run(Block(block.kind, block.language, code), tmp_path)
            assert "Paris" in answer
        server.stop(drain=False)


def test_every_local_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target


def test_every_precision_is_named() -> None:
    assert all(precision in README.read_text() for precision in PRECISIONS)
