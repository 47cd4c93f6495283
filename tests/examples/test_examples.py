"""Every program in examples/ runs as it stands, on a tiny checkpoint."""

from __future__ import annotations

import io
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

EXAMPLES = Path(__file__).parents[2] / "examples"
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a program with arguments and a standard input; what it printed."""

    def run(name: str, *arguments: str | Path, stdin: str = "") -> str:
        commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        monkeypatch.setenv("PATH", commands)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capfd.readouterr().out

    return run


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[TritonServer]:
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0)
    with TritonServer(tiny_repository, options) as server:
        yield server
        server.stop(drain=False)


def test_the_model_in_process_streams_what_was_asked_for(run: Run, tiny_repository: Path) -> None:
    printed = run("in_process.py", tiny_repository)
    assert re.search(r"\((length|stop), Usage\(num_prompt_tokens=16, num_output_tokens=", printed)


def test_the_batch_answers_each_line_in_its_order(run: Run, tiny_repository: Path) -> None:
    printed = run("batch.py", tiny_repository, stdin="one\n\ntwo\nthree\n")
    assert re.findall(r"^'(\w+)' -> .* \((?:length|stop)\)$", printed, re.MULTILINE) == [
        *("one", "two", "three")
    ]
    assert re.search(r"^[1-9]\d* new tokens$", printed, re.MULTILINE)


def test_the_chat_finds_its_earlier_turns_in_the_cache(run: Run, tiny_repository: Path) -> None:
    printed = run("chat.py", tiny_repository, stdin="Who are you?\nAnd who am I?\n")
    counts = re.findall(r"\((\d+) of (\d+) prompt tokens were in the cache\)", printed)
    (first, _), (second, whole) = counts
    assert first == "0"
    assert 0 < int(second) < int(whole)


@pytest.mark.server
def test_the_grpc_client_leaves_a_stream_and_names_a_refusal(
    run: Run, server: TritonServer
) -> None:
    printed = run("grpc_client.py", server.grpc_url)
    assert "refused: invalid_request, retry makes sense: False" in printed


@pytest.mark.server
def test_the_http_client_prints_a_stream(run: Run, server: TritonServer) -> None:
    assert re.search(r"\((length|stop), \d+ new tokens\)", run("http_client.py", server.http_url))


@pytest.mark.server
def test_the_asyncio_program_reads_a_server(run: Run, server: TritonServer) -> None:
    printed = run("asyncio_streams.py", server.grpc_url)
    assert printed.count(" -> ") == 3
    assert "cancelled: True" in printed


def test_the_asyncio_program_reads_an_engine_in_process(run: Run, tiny_repository: Path) -> None:
    printed = run("asyncio_streams.py", tiny_repository)
    assert printed.count(" -> ") == 3
    assert "cancelled: True" in printed


def test_an_own_checkpoint_is_built_and_answers(run: Run, tiny_llama: Path, tmp_path: Path) -> None:
    printed = run("own_checkpoint.py", tiny_llama, tmp_path / "repository")
    assert "LlamaForCausalLM in int8, KV cache in u8" in printed
    assert "at most 512 tokens" in printed
    assert (tmp_path / "repository" / "ensemble" / "config.pbtxt").is_file()


def test_a_checkpoint_that_does_not_build_ends_the_program(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="1"):
        run("own_checkpoint.py", tmp_path / "none", tmp_path / "repository")


def test_every_program_is_listed_and_tested() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")}
    recipes = {path.name for path in EXAMPLES.glob("*.yaml")}  # run by tests/app/recipe
    listed = set(re.findall(r"^\| \[(\S+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert listed == programs | recipes
    assert set(re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text())) == programs
