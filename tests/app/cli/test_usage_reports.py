"""No process of ours asks the network for anything that was not wanted, or writes into HOME.

A proxy on this machine stands for the network: it writes down what is asked of it, and refuses.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from llmasos.usage_reports import SWITCHES

ROOT = Path(__file__).parents[3]
LLMASOS = str(Path(sys.executable).with_name("llmasos"))
IN_PROCESS = """
import sys
from llmasos import LLM
with LLM(sys.argv[1], precision="f32", num_threads=1) as llm:
    llm.generate_text("hi", max_tokens=2)
"""
CI_VARIABLES = {"CI", "TF_BUILD", "JENKINS_URL"}  # some packages report nothing where these are


class Network:
    """What was asked of it, each by its first line."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                line = connection.recv(200).partition(b"\r\n")[0].decode()
                if not line:
                    return
                self.asked.append(line)

    def close(self) -> None:
        """After all that was asked before was written down."""
        if self._thread.is_alive():
            with socket.create_connection(self._listener.getsockname()):
                pass
            self._thread.join(30)
            self._listener.close()


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()


@pytest.fixture
def environment(network: Network, tmp_path: Path) -> dict[str, str]:
    """Of a new user, whose only way out is the network above."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {n: v for n, v in os.environ.items() if n not in CI_VARIABLES | set(SWITCHES)}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), network.url)
    own = {"HOME": str(home), "LLMASOS_CACHE": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1"}
    return {**kept, **proxies, **own, "no_proxy": "127.0.0.1"}


def check_nothing_was_sent(network: Network, environment: dict[str, str]) -> None:
    network.close()
    home = Path(environment["HOME"])
    assert network.asked == []
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []


@pytest.fixture
def commands(tiny_repository: Path, tiny_llama: Path, tmp_path: Path) -> dict[str, list[str]]:
    text = tmp_path / "text.txt"
    text.write_text("some words to be judged " * 4)
    repository = str(tiny_repository)
    return {
        "generate": [LLMASOS, "generate", "-m", repository, "--max-tokens", "2", "hi"],
        "plan": [LLMASOS, "plan", repository],
        "plan CHECKPOINT": [LLMASOS, "plan", str(tiny_llama)],
        "inspect": [LLMASOS, "inspect", repository],
        "evaluate": [LLMASOS, "evaluate", repository, "--text", str(text)],
        "doctor": [LLMASOS, "doctor"],
        "build": [LLMASOS, "build", str(tiny_llama), "-o", str(tmp_path / "out")],
        "in process": [sys.executable, "-c", IN_PROCESS, str(tiny_llama)],
    }


@pytest.mark.parametrize(
    "command",
    ["generate", "plan", "inspect", "evaluate", "doctor", "build", "plan CHECKPOINT", "in process"],
)
def test_a_command_reports_its_use_to_nobody(
    command: str, commands: dict[str, list[str]], network: Network, environment: dict[str, str]
) -> None:
    result = subprocess.run(
        commands[command], env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert result.returncode == 0, result.stderr
    check_nothing_was_sent(network, environment)


@pytest.mark.server
def test_a_server_and_its_processes_report_their_use_to_nobody(
    network: Network, environment: dict[str, str], tiny_repository: Path
) -> None:
    ports = [f"--{one}-port=0" for one in ("grpc", "http", "metrics", "openai")]
    with subprocess.Popen(
        [LLMASOS, "serve", str(tiny_repository), *ports],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if line.startswith("ready in"):
                server.send_signal(signal.SIGINT)
        assert server.wait(timeout=120) == 0, "".join(said)
    check_nothing_was_sent(network, environment)


def test_openvino_is_imported_where_its_reports_are_turned_off() -> None:
    folders = ("client", "builder", "runtime", "serving", "app", "model_repository", "benchmarks")
    allowed = {"client/llmasos/openvino_import.py", "benchmarks/peers/openvino_genai.py"}
    found = set()
    for path in (p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        names = list(imported(path))
        first = next((i for i, name in enumerate(names) if is_openvino(name)), None)
        if first is not None and "llmasos.openvino_import" not in names[:first]:
            found.add(str(path.relative_to(ROOT)))
    assert found == allowed


def is_openvino(name: str) -> bool:
    return re.fullmatch(r"openvino(_genai|_tokenizers)?(\..*)?", name) is not None


def imported(path: Path) -> Iterator[str]:
    """In the order of the lines."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if hasattr(n, "lineno")]
    for node in sorted(nodes, key=lambda node: node.lineno):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_who_imports_the_package_that_reports_gets_it_afterwards() -> None:
    code = (
        "import sys, llmasos.openvino_import\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
        "import openvino_telemetry\n"
        "assert openvino_telemetry.Telemetry"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmasos.usage_reports import turn_off_usage_reports

    monkeypatch.setattr("os.environ", {"DO_NOT_TRACK": "0"})
    turn_off_usage_reports()
    assert os.environ == {**SWITCHES, "DO_NOT_TRACK": "0"}
