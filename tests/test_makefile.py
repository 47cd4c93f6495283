"""What `make` says when something is missing, before anything is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKE_VENV = ROOT / "scripts" / "make-venv"


def fake_python(
    directory: Path, name: str, *, version: str, has_venv: bool = True, has_libpython: bool = True
) -> Path:
    """A command that answers as a Python of this version would, and makes no environment."""
    major, minor = map(int, version.split("."))
    supported = (3, 10) <= (major, minor) <= (3, 14)
    serving = (3, 10) <= (major, minor) <= (3, 12)
    path = directory / name
    path.write_text(
        "#!/bin/bash\n"
        'case "$*" in\n'
        f'  *"%d.%d"*) echo {version} ;;\n'
        f"  *ensurepip*) exit {int(not has_venv)} ;;\n"
        f'  *"<= (3, 12)"*) exit {int(not serving)} ;;\n'
        f"  *version_info*) exit {int(not supported)} ;;\n"
        f"  -) exit {int(not has_libpython)} ;;\n"
        '  *"-m venv"*) echo "$0 makes $3" ;;\n'
        "esac\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """A PATH with a shell and coreutils but no Python."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in ("bash", "rm", "env"):
        found = shutil.which(tool)
        assert found is not None
        (directory / tool).symlink_to(found)
    return directory


def make_venv(bin_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(MAKE_VENV), str(bin_dir.parent / "venv"), *arguments],
        env={"PATH": str(bin_dir)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_newest_that_the_server_runs_with_is_chosen(bin_dir: Path) -> None:
    fake_python(bin_dir, "python3.14", version="3.14")
    fake_python(bin_dir, "python3.12", version="3.12")
    fake_python(bin_dir, "python3.10", version="3.10")
    fake_python(bin_dir, "python3", version="3.13")
    assert "python3.12 makes" in make_venv(bin_dir).stdout


def test_a_python_with_all_it_needs_is_preferred(bin_dir: Path) -> None:
    fake_python(bin_dir, "python3.12", version="3.12", has_venv=False)
    fake_python(bin_dir, "python3.11", version="3.11", has_libpython=False)
    fake_python(bin_dir, "python3", version="3.11")
    assert "python3 makes" in make_venv(bin_dir).stdout


def test_a_newer_one_does_where_no_older_one_has_all_it_needs(bin_dir: Path) -> None:
    fake_python(bin_dir, "python3.12", version="3.12", has_venv=False)
    fake_python(bin_dir, "python3.11", version="3.11", has_libpython=False)
    fake_python(bin_dir, "python3.13", version="3.13", has_libpython=False)
    assert "python3.13 makes" in make_venv(bin_dir).stdout


def test_a_missing_venv_module_gets_the_line_that_installs_it(bin_dir: Path) -> None:
    fake_python(bin_dir, "python3", version="3.11", has_venv=False)
    result = make_venv(bin_dir)
    assert result.returncode == 1
    assert result.stderr == (
        "error: python3 has no venv module; install it: sudo apt install python3.11-venv\n"
    )


def test_a_missing_libpython_gets_the_line_that_installs_it(bin_dir: Path) -> None:
    fake_python(bin_dir, "python3", version="3.10", has_libpython=False)
    result = make_venv(bin_dir)
    assert result.returncode == 1
    assert result.stderr == (
        "error: libpython3.10.so.1.0 is missing, which the Triton server needs; "
        "install it: sudo apt install libpython3.10\n"
    )


def test_an_unsupported_python_is_named(bin_dir: Path) -> None:
    fake_python(bin_dir, "python3", version="3.15")
    result = make_venv(bin_dir)
    assert result.returncode == 1
    assert "needs Python 3.10 to 3.14; python3 here is 3.15" in result.stderr


def test_a_machine_without_python_is_told_so(bin_dir: Path) -> None:
    result = make_venv(bin_dir)
    assert result.returncode == 1
    assert "python3 here is not found" in result.stderr


def test_a_python_that_was_asked_for_is_used_or_refused(bin_dir: Path) -> None:
    fake_python(bin_dir, "python3", version="3.11")
    old = fake_python(bin_dir, "old", version="3.9")
    good = fake_python(bin_dir, "good", version="3.10")
    assert f"{good} makes" in make_venv(bin_dir, str(good)).stdout
    assert f"{old} is 3.9" in make_venv(bin_dir, str(old)).stderr


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_lists_every_target() -> None:
    targets = re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = make("help").stdout
    for target in targets:
        assert f"make {target} " in listed


def test_the_readme_shows_only_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)", (ROOT / "README.md").read_text())):
        assert f".PHONY: {target}\n" in makefile


def test_every_test_that_the_script_for_the_newest_python_names_is_there() -> None:
    script = (ROOT / "scripts" / "test-newest").read_text()
    named = re.findall(r"(tests/\S+)::(\w+)", script)
    missing = [(p, n) for p, n in named if f"def {n}(" not in (ROOT / p).read_text()]
    assert named
    assert not missing
