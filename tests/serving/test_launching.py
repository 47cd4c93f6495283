"""What the launcher does around tritonserver: options, ports, the command, the guard."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from llmasos.contract import MODELS
from llmasos.errors import PlanError, ServerError
from llmasos.triton.triton_client import TritonClient
from llmasos_runtime.triton.model_arguments import ModelArguments
from llmasos_serving.triton import installation as installation_module
from llmasos_serving.triton import process_guard
from llmasos_serving.triton.command import server_command
from llmasos_serving.triton.installation import Installation, find_installation
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
from llmasos_serving.triton.ports import Ports
from llmasos_serving.triton.processes import model_processes
from patience import PATIENCE_S, wait_until

ANY_PORTS = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)


def test_options_name_what_is_wrong() -> None:
    with pytest.raises(ServerError, match="http_port must be between 0 and 65535, got 70000"):
        ServerOptions(http_port=70000)
    with pytest.raises(ServerError, match="the ports must differ, got 8001, 8001, 8002"):
        ServerOptions(http_port=8001)
    with pytest.raises(ServerError, match="num_threads must be at least 1, got 0"):
        ServerOptions(num_threads=0)


def test_ports_of_0_become_three_free_ones() -> None:
    ports = Ports.choose(ANY_PORTS)
    assert len({ports.grpc, ports.http, ports.metrics} - {0}) == 3


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        options = ServerOptions(grpc_port=0, http_port=port, metrics_port=0)
        with pytest.raises(ServerError, match=f"http_port {port} is in use") as caught:
            Ports.choose(options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_of_another_machine_is_said_to_be_that(host: str) -> None:
    options = ServerOptions(host=host, grpc_port=0, http_port=0, metrics_port=0)
    with pytest.raises(ServerError, match=f"host {host} is no address of this machine"):
        Ports.choose(options)


def test_the_command_listens_on_loopback_and_restricts_what_is_dangerous(tmp_path: Path) -> None:
    installation = Installation(executable=Path("/x/tritonserver"), arguments=(), environment={})
    ports = Ports(grpc=1, http=2, metrics=3)
    command = server_command(installation, tmp_path, ANY_PORTS, ports, "prefix-")
    for kind in ("http", "grpc", "metrics"):
        assert f"--{kind}-address=127.0.0.1" in command
    assert "--model-control-mode=none" in command
    restricted = [argument for argument in command if "restricted" in argument]
    assert len(restricted) == 2
    assert all("shared-memory,trace,logging" in argument for argument in restricted)


def test_a_server_on_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "tritonserver"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    installation = find_installation(tmp_path)
    assert (installation.executable, installation.arguments) == (server, ())


def test_the_embedded_server_gets_the_stub_of_this_python(tmp_path: Path) -> None:
    installation = find_installation(tmp_path)
    stub = tmp_path / "backends" / "python" / "triton_python_backend_stub"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert installation.executable.is_file()
    assert stub.resolve().parent.name == version
    first_on_path = installation.environment["PATH"].split(":")[0]
    assert Path(first_on_path) == Path(sys.executable).parent


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo libpython3.so: cannot open >&2; exit 127", "here: libpython3.so: cannot open"),
        ("exit 3", "here: it ended with status 3"),
    ],
)
def test_a_stub_that_cannot_run_is_one_clear_line_before_triton_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    make, stub = installation_module._Parts.of, tmp_path / "stub"
    stub.write_text(f"#!/bin/sh\n{script}\n")
    stub.chmod(0o755)
    monkeypatch.setattr(
        installation_module._Parts, "of", lambda python: replace(make(python), stub=stub)
    )
    with pytest.raises(ServerError, match=said) as caught:
        find_installation(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none", "a" * 300], ids=["missing", "too long"])
def test_a_missing_repository_is_one_clear_line_before_anything_starts(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ServerError, match="is no model repository") as caught:
        TritonServer(tmp_path / name, ANY_PORTS).start()
    assert "\n" not in str(caught.value)


def test_a_repository_without_a_plan_is_refused(tmp_path: Path) -> None:
    for name in MODELS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").touch()
    with pytest.raises(PlanError, match=r"plan\.json does not exist"):
        TritonServer(tmp_path, ANY_PORTS).start()


def test_a_repository_of_another_release_is_refused_before_anything_starts(
    tiny_repository: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(tiny_repository, tmp_path / "older")
    config = older / "ensemble" / "config.pbtxt"
    config.write_text(config.read_text().replace('"stop_reason"', '"stopped_by"'))
    with pytest.raises(PlanError, match="does not declare stop_reason: another release wrote it"):
        TritonServer(older, ANY_PORTS).start()


def test_a_repository_whose_models_import_what_has_moved_is_refused_before_anything_starts(
    tiny_repository: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(tiny_repository, tmp_path / "older")
    model = older / "tokenizer" / "1" / "model.py"
    code = model.read_text()
    for moved in ("llmasos.tokenizer", "llmasos.words.tokenizer"):
        model.write_text(code.replace("llmasos.text.tokenizer", moved))
        with pytest.raises(PlanError, match=f"imports {moved}, which is not here: another release"):
            TritonServer(older, ANY_PORTS).start()


def test_a_port_that_another_program_takes_meanwhile_is_chosen_anew(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of those that Triton opens: the first answers by then."""
    choose, chosen = Ports.choose, list[Ports]()

    def choose_one_that_is_lost(options: ServerOptions) -> Ports:
        ports = choose(options)
        chosen.append(ports if chosen else replace(ports, http=taken))
        return chosen[-1]

    monkeypatch.setattr(Ports, "choose", choose_one_that_is_lost)
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = held.getsockname()[1]
        with TritonServer(tiny_repository, ANY_PORTS) as server:
            assert server.metrics_url.endswith(f":{chosen[1].metrics}/metrics")
            with TritonClient(server.http_url) as client:
                assert client.generate_text("a", max_tokens=1)
            server.stop(drain=False)
    assert len(chosen) == 2


@dataclass(frozen=True)
class FakeProcess:
    """words: its command line, or none if it has ended."""

    words: tuple[str, ...]

    def cmdline(self) -> list[str]:
        if not self.words:
            raise psutil.ZombieProcess(1)
        return list(self.words)


def test_a_models_process_that_has_ended_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = "/backends/python/triton_python_backend_stub"
    alive = FakeProcess((stub, "/repository/engine/1/model.py", "region"))
    tree = SimpleNamespace(
        children=lambda recursive: [FakeProcess(()), FakeProcess(("sh",)), alive]
    )
    monkeypatch.setattr(psutil, "Process", lambda pid: tree)
    (found,) = model_processes(7)
    assert (found.model, found.process) == ("engine", alive)


def test_unfilled_parameters_count_as_absent(tmp_path: Path) -> None:
    config = (
        '{"parameters": {"a": {"string_value": "${a}"}, "b": {"string_value": ""},'
        ' "c": {"string_value": "7"}, "d": {"string_value": "plan"}}}'
    )
    arguments = ModelArguments.of(
        {"model_config": config, "model_repository": str(tmp_path), "model_version": "1"}
    )
    assert [arguments.integer(name) for name in "abc"] == [None, None, 7]
    assert arguments.path("d") == tmp_path / "1" / "plan"
    with pytest.raises(PlanError, match="d must be a number of at least 1, got 'plan'"):
        arguments.integer("d")


class Kept:
    """A guard with a server that is a shell script; `end` it whatever becomes of the test."""

    def __init__(self, run_dir: Path, script: str, drain_s: float) -> None:
        self.run_dir = run_dir
        self.region = run_dir.with_name(f"{run_dir.name}-region")
        run_dir.mkdir()
        self.region.touch()
        lock = os.open(run_dir, os.O_RDONLY)
        arguments = [str(run_dir), str(lock), str(drain_s), "sh", "-c", script]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(process_guard.__file__), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(lock,),
        )
        os.close(lock)
        self.server_pid = 0

    def wait_for_server(self) -> None:
        assert self.process.stdout is not None
        self.server_pid = int(self.process.stdout.readline())

    def server(self) -> psutil.Process:
        """The server's process, for a script that does not end by itself."""
        return psutil.Process(self.server_pid)

    def close_stdin(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.close()

    def is_clean(self) -> bool:
        return not self.region.exists() and not self.run_dir.exists()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.region.unlink(missing_ok=True)


Keep = Callable[..., Kept]


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Keep]:
    made: list[Kept] = []

    def make(script: str, *, drain_s: float = 0.2) -> Kept:
        made.append(one := Kept(tmp_path / "run", script, drain_s))
        one.wait_for_server()
        if script.startswith("trap"):
            wait_until(one.server().children)  # else it may not have come to its trap
        return one

    yield make
    for one in made:
        one.end()


def test_the_guard_ends_as_its_server_did_and_cleans_up(keep: Keep) -> None:
    one = keep("exit 7")
    assert one.process.wait(PATIENCE_S) == 7
    assert one.is_clean()


def test_the_guard_asks_its_server_to_end_when_its_pipe_closes(keep: Keep) -> None:
    one = keep("trap 'exit 3' TERM; while :; do sleep 0.05; done", drain_s=2 * PATIENCE_S)
    one.close_stdin()
    assert one.process.wait(PATIENCE_S) == 3
    assert one.is_clean()


def test_a_server_that_does_not_end_is_killed(keep: Keep) -> None:
    one = keep("trap '' TERM; while :; do sleep 0.05; done")
    one.close_stdin()
    assert one.process.wait(PATIENCE_S) == 128 + 9
    assert one.is_clean()


def test_the_guard_kills_at_once_when_told_to(keep: Keep) -> None:
    one = keep("trap '' TERM; while :; do sleep 0.05; done", drain_s=2 * PATIENCE_S)
    one.close_stdin("kill\n")
    assert one.process.wait(PATIENCE_S) == 128 + 9


def test_what_the_server_started_dies_with_it(keep: Keep) -> None:
    one = keep("sleep 600 & wait")
    server = one.server()
    wait_until(server.children)
    (child,) = server.children()
    server.kill()
    one.process.wait(PATIENCE_S)
    wait_until(lambda: not child.is_running())


def test_a_killed_guard_takes_its_server_with_it(keep: Keep) -> None:
    one = keep("while :; do sleep 0.05; done")
    server = one.server()
    one.process.kill()
    wait_until(lambda: not server.is_running())
