"""Which Python the embedded server's processes get, with interpreters that are scripts."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import llmasos_runtime
import pytest
from llmasos.engine.plan_lock import PlanHold
from llmasos.errors import PlanError, ServerError
from llmasos_app.cache.engine_store import cached_environments, remove_engine
from llmasos_app.cli.app import app
from llmasos_serving.triton import interpreters, server_environment
from llmasos_serving.triton.installation import describe_server, find_installation, server_on_path
from llmasos_serving.triton.interpreters import find_interpreter
from llmasos_serving.triton.python_facts import PythonFacts, facts_of, this_python
from llmasos_serving.triton.server_environment import (
    SOURCE_VARIABLE,
    ready_python,
    requirements,
    server_python,
)
from typer.testing import CliRunner

SCRIPT = """#!{python} -IS
import json, shutil, sys, time
from pathlib import Path

me = Path(sys.argv[0])
facts = json.loads(me.with_name(me.name + ".json").read_text())
root = me.parents[1]
if sys.argv[-1].endswith("python_facts.py"):
    if facts["base_executable"] != str(me) and not Path(facts["base_executable"]).exists():
        sys.exit(1)  # as a virtual environment's Python without the one it was made from
    site = str(root / "site")
    own = {{"executable": str(me), "prefix": str(root), "site_packages": site}}
    if facts["pytriton"]:
        own["pytriton_root"] = site
    print(json.dumps({{**facts, **own}}))
elif "venv" in sys.argv:
    made = Path(sys.argv[-1])
    (made / "bin").mkdir(parents=True)
    (made / "site").mkdir()
    shutil.copy(me, made / "bin" / "python3")
    facts["base_executable"] = str(me)
    (made / "bin" / "python3.json").write_text(json.dumps(facts))
elif "pip" in sys.argv:
    with Path({log!r}).open("a") as log:
        log.write(json.dumps(sys.argv) + "\\n")
    time.sleep(0.2)  # long enough for another to come meanwhile
    if Path({log!r}).with_name("offline").exists():
        sys.exit("WARNING: retrying\\nERROR: No matching distribution found for numpy")
    server = root / "site" / "pytriton" / "tritonserver"
    stub = server / "python_backend_stubs" / facts["version"] / "triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    stub.write_text("#!/bin/sh\\nexit 1\\n")
    stub.chmod(0o755)
    (server / "backends" / "python").mkdir(parents=True)
    facts.update(numpy="1.26.4", pytriton="0.7.0")
    me.with_name(me.name + ".json").write_text(json.dumps(facts))
"""


@dataclass(frozen=True)
class Machine:
    """root: of all that is made. Its PATH has `bin` alone, and its own Python is too new."""

    root: Path

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def pip_log(self) -> Path:
        return self.root / "pip.log"

    def pip_calls(self) -> list[list[str]]:
        if not self.pip_log.exists():
            return []
        return [json.loads(line) for line in self.pip_log.read_text().splitlines()]

    def add(
        self,
        name: str,
        version: str,
        *,
        has_venv: bool = True,
        has_libpython: bool = True,
        implementation: str = "cpython",
    ) -> Path:
        """An interpreter that makes environments, at `name` below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SCRIPT.format(python=sys.executable, log=str(self.pip_log)))
        path.chmod(0o755)
        library = self.root / "lib" / version
        library.mkdir(parents=True, exist_ok=True)
        libpython = library / f"libpython{version}.so.1.0"
        libpython.touch() if has_libpython else libpython.unlink(missing_ok=True)
        facts = replace(
            this_python(),
            version=version,
            implementation=implementation,
            base_executable=str(path),
            base_prefix=str(self.root),
            library_dir=str(library),
            has_venv=has_venv,
            numpy=None,
            pytriton=None,
            pytriton_root=None,
        )
        path.with_name(path.name + ".json").write_text(json.dumps(asdict(facts)))
        return path


def too_new() -> PythonFacts:
    return replace(this_python(), version="3.13", numpy="2.5.5", pytriton=None, pytriton_root=None)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    made.bin.mkdir()
    bash = shutil.which("bash")
    assert bash is not None
    (made.bin / "bash").symlink_to(bash)
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    for name in ("XDG_DATA_HOME", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "MISE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ASDF_DATA_DIR", raising=False)
    monkeypatch.delenv(interpreters.VARIABLE, raising=False)
    monkeypatch.setattr(server_environment, "this_python", too_new)
    monkeypatch.setattr("llmasos_serving.triton.python_facts.find_library", lambda name: None)
    return made


def test_an_interpreter_says_of_itself_what_this_one_knows() -> None:
    assert facts_of(sys.executable) == this_python()
    assert facts_of("/bin/false") is None
    assert facts_of("/no/such/python") is None


def test_a_python_that_the_server_runs_with_needs_no_other(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add("bin/python3.12", "3.12")
    own = replace(this_python(), numpy="1.26.4", pytriton="0.7.0")
    monkeypatch.setattr(server_environment, "this_python", lambda: own)
    assert server_python() == own
    monkeypatch.setattr(
        server_environment, "this_python", lambda: replace(own, numpy="2.0.0")
    )  # its processes would die at the first tensor
    assert server_python().version == "3.12"


def test_an_environment_is_made_once_and_found_without_a_network(machine: Machine) -> None:
    machine.add("bin/python3.11", "3.11")
    machine.add("bin/python3.12", "3.12")
    assert ready_python() is None
    made = server_python()
    assert made.version == "3.12"
    assert Path(made.prefix).parent == machine.root / "cache" / "server-env"
    (machine.root / "offline").touch()
    assert server_python() == made == ready_python()
    assert len(machine.pip_calls()) == 1


def test_pip_is_asked_for_what_llmasos_declares_and_the_same_openvino(machine: Machine) -> None:
    machine.add("bin/python3.12", "3.12")
    server_python()
    (call,) = machine.pip_calls()
    assert set(requirements()) <= set(call)
    assert any(one.startswith("nvidia-pytriton==") for one in call)
    assert any(one.startswith("openvino==2026.4.1") for one in call)
    assert not any(one.startswith(("torch", "pytest", "mkdocs")) for one in call)


def test_what_pip_cannot_install_is_one_line_and_leaves_nothing(machine: Machine) -> None:
    machine.add("bin/python3.12", "3.12")
    (machine.root / "offline").touch()
    with pytest.raises(ServerError, match="No matching distribution found for numpy") as caught:
        server_python()
    assert "\n" not in str(caught.value)
    left = list((machine.root / "cache" / "server-env").iterdir())
    assert [path.suffix for path in left] == [".lock"]


def test_many_at_once_make_it_once(machine: Machine) -> None:
    machine.add("bin/python3.12", "3.12")
    threads = [threading.Thread(target=server_python) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(machine.pip_calls()) == 1
    assert ready_python() is not None


def test_an_environment_whose_python_is_gone_is_made_anew(machine: Machine) -> None:
    base = machine.add("bin/python3.12", "3.12")
    server_python()
    moved = machine.add("home/.pyenv/versions/3.12.7/bin/python3.12", "3.12")
    base.unlink()
    assert ready_python() is None
    assert server_python().base_executable == str(moved)
    assert len(machine.pip_calls()) == 2


def test_one_that_lacks_something_gives_way_to_an_older_one(machine: Machine) -> None:
    machine.add("bin/python3.12", "3.12", has_venv=False)
    machine.add("bin/python3.11", "3.11", has_libpython=False)
    oldest = machine.add("bin/python3.10", "3.10")
    assert find_interpreter().executable == str(oldest)


def test_what_it_lacks_is_named_where_there_is_no_other(machine: Machine) -> None:
    path = machine.add("bin/python3.12", "3.12", has_venv=False)
    with pytest.raises(ServerError, match=r"no venv module.*; sudo apt install python3\.12-venv"):
        find_interpreter()
    machine.add("bin/python3.12", "3.12", has_libpython=False)
    with pytest.raises(ServerError, match=r"libpython3\.12\.so\.1\.0 is missing"):
        find_interpreter()
    machine.add("bin/python3.12", "3.12", implementation="pypy")
    with pytest.raises(ServerError, match="is pypy; the Triton server needs CPython"):
        find_interpreter()
    path.unlink()
    with pytest.raises(ServerError, match="there is none beside this Python") as caught:
        find_interpreter()
    assert "uv python install 3.12" in str(caught.value)
    assert "nvcr.io/nvidia/tritonserver" in str(caught.value)


def test_the_distributions_own_package_is_named_where_it_has_one(machine: Machine) -> None:
    apt = machine.bin / "apt-cache"
    apt.write_text("#!/bin/sh\necho 'Package: python3.11'\n")
    apt.chmod(0o755)
    with pytest.raises(ServerError, match=r"sudo apt install python3\.11-venv libpython3\.11,"):
        find_interpreter()


@pytest.mark.parametrize(
    "place",
    [".pyenv/versions", ".local/share/uv/python", ".local/share/mise/installs/python"],
)
def test_the_newest_that_a_version_manager_keeps_is_found(machine: Machine, place: str) -> None:
    machine.add(f"home/{place}/cpython-3.12.9-linux/bin/python3.12", "3.12")
    newest = machine.add(f"home/{place}/cpython-3.12.10-linux/bin/python3.12", "3.12")
    machine.add(f"home/{place}/cpython-3.13.0-linux/bin/python3.13", "3.13")
    assert find_interpreter().executable == str(newest)


def test_the_one_that_is_named_is_used_or_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add("bin/python3.12", "3.12")
    named = machine.add("elsewhere/python", "3.10")
    monkeypatch.setenv(interpreters.VARIABLE, str(named))
    assert find_interpreter().version == "3.10"
    monkeypatch.setenv(interpreters.VARIABLE, str(machine.add("elsewhere/python", "3.13")))
    with pytest.raises(ServerError, match=r"LLMASOS_SERVER_PYTHON names .*, which is Python 3\.13"):
        find_interpreter()
    monkeypatch.setenv(interpreters.VARIABLE, "/no/python")
    with pytest.raises(ServerError, match="names /no/python, which is no Python that runs"):
        find_interpreter()


def test_the_servers_processes_import_llmasos_from_here_and_nothing_beside_it(
    machine: Machine,
) -> None:
    machine.add("bin/python3.12", "3.12")
    run_dir = machine.root / "run"
    run_dir.mkdir()
    found = find_installation(run_dir)
    made = Path(server_python().prefix)
    assert found.executable.is_relative_to(made)
    assert found.environment["PATH"].split(":")[0] == str(made / "bin")
    source = Path(found.environment[SOURCE_VARIABLE])
    assert sorted(path.name for path in source.iterdir()) == ["llmasos", "llmasos_runtime"]
    assert (source / "llmasos_runtime").samefile(Path(llmasos_runtime.__file__).parent)
    stub = run_dir / "backends" / "python" / "triton_python_backend_stub"
    assert stub.resolve().parent.name == "3.12"
    (line,) = (made / "site").glob("*.pth")
    assert SOURCE_VARIABLE in line.read_text()


def test_an_environment_stays_while_a_server_has_it_and_goes_with_the_cache(
    machine: Machine,
) -> None:
    machine.add("bin/python3.12", "3.12")
    hold = PlanHold(Path(server_python().prefix))
    (environment,) = cached_environments()
    with pytest.raises(PlanError, match="is in use"):
        remove_engine(environment)
    hold.release()
    listed = CliRunner().invoke(app, ["cache", "ls"]).output
    assert environment.name in listed and "Python packages of the Triton server" in listed
    assert CliRunner().invoke(app, ["cache", "rm", environment.name]).exit_code == 0
    assert ready_python() is None


def test_a_server_on_path_is_used_only_if_its_stub_is_for_this_python(machine: Machine) -> None:
    server = machine.bin / "tritonserver"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    stub = machine.root / "backends" / "python" / "triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub.write_bytes(f"\x7fELF\0libpython{own}.so.1.0\0".encode())
    assert server_on_path() == server
    stub.write_bytes(b"\x7fELF\0libpython3.9.so.1.0\0")
    assert server_on_path() is None


def test_doctor_says_which_way_serving_will_go(machine: Machine) -> None:
    with pytest.raises(ServerError, match="there is none beside this Python"):
        describe_server()
    base = machine.add("bin/python3.12", "3.12")
    text = describe_server()
    assert "the first `llmasos serve` installs it" in text and str(base) in text
    assert not machine.pip_calls()
    server_python()
    assert describe_server().endswith("of nvidia-pytriton 0.7.0, for Python 3.12")


@pytest.mark.parametrize("command", [["serve"], ["demo", "What?", "--model"]])
def test_a_machine_that_cannot_serve_is_told_so_before_a_model_is_built(
    machine: Machine, tiny_llama: Path, command: list[str]
) -> None:
    result = CliRunner().invoke(app, [*command, str(tiny_llama)])
    assert isinstance(result.exception, ServerError)
    assert not (machine.root / "cache" / "engines").exists()
