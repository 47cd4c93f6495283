"""The server sees names that no shell can read as something else, whatever the user named."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from llmasos.errors import ServerError
from llmasos_serving.triton import links
from llmasos_serving.triton.python_facts import this_python

ODD = "sp ace $(touch RAN) `touch RAN` ;&|<> 'q\" é ☃ \udcff \n"
"""A name of what shells, lists of paths and ASCII do not bear."""


def repository_of(path: Path, *models: str) -> Path:
    for model in models:
        (path / model).mkdir(parents=True)
        (path / model / "config.pbtxt").touch()
    return path


def test_a_repository_is_linked_model_by_model(tmp_path: Path) -> None:
    repository = repository_of(tmp_path / ODD, "engine", "my_model-2.0")
    (repository / "lost+found").mkdir()
    repository_of(repository, ".hidden")
    (repository / "README $(touch RAN)").touch()
    target = links.link_repository(repository, tmp_path)
    assert {path.name for path in target.iterdir()} == {"engine", "my_model-2.0"}
    assert (target / "engine").resolve() == repository / "engine"


@pytest.mark.parametrize("name", ["$(touch RAN)", "a b", "é", "-x", "a;b", "a\n"])
def test_a_model_whose_name_a_shell_could_read_is_refused_in_one_line(
    tmp_path: Path, name: str
) -> None:
    repository = repository_of(tmp_path / "repository", name)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with pytest.raises(ServerError, match="which Triton cannot load") as caught:
        links.link_repository(repository, run_dir)
    assert "\n" not in str(caught.value)


def test_libraries_get_names_that_no_list_of_paths_splits(tmp_path: Path) -> None:
    library = tmp_path / "a:b;c"
    library.mkdir()
    (link,) = links.link_libraries([library], tmp_path)
    assert Path(link) == tmp_path / "libraries" / "0"
    assert Path(link).resolve() == library


def test_this_python_is_named_as_it_is_where_that_can_be_read(tmp_path: Path) -> None:
    assert links.link_python(this_python(), tmp_path) == Path(sys.executable).parent
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_environment", [True, False], ids=["environment", "no environment"])
def test_a_python_elsewhere_is_found_by_a_name_in_ascii(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_environment: bool
) -> None:
    """As Triton's Python processes look for it: by the name `python3`, in a locale of ASCII."""
    python = tmp_path / "Jos\xe9 x"
    if is_environment:
        venv.create(python, symlinks=True)
    else:
        python.symlink_to(sys.base_prefix)
        monkeypatch.setattr(sys, "base_prefix", str(python))
    monkeypatch.setattr(sys, "prefix", str(python))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    found = links.link_python(this_python(), run_dir)
    assert str(found).isascii()
    said = subprocess.run(
        ["python3", "-c", "import sys, json; print(sys.prefix)"],
        env={"PATH": str(found), "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    if is_environment:
        assert said.stdout.strip() == str(run_dir / "python")
        assert (run_dir / "python" / "lib").resolve() == python / "lib"
