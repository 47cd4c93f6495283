"""The page on the commands is what the commands say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import typer
from llmasos_app.cli.app import app
from llmasos_app.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmasos_app.cli.reference", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_is_made_from_the_commands() -> None:
    assert PAGE.read_text() == reference()


def test_every_command_and_option_is_on_it() -> None:
    page = reference()
    group: typer.core.TyperGroup = typer.main.get_command(app)  # type: ignore[assignment]
    assert {"build", "serve", "generate", "inspect"} <= group.commands.keys()
    for name, command in group.commands.items():
        assert f"## llmasos {name}" in page
        section = page.split(f"## llmasos {name}", 1)[1]
        for parameter in command.params:
            for option in (o for o in parameter.opts if o.startswith("--")):
                assert re.search(rf"`[^`]*{option}\b", section), option
    assert "## llmasos cache ls" in page and "## llmasos cache rm" in page


def test_checking_tells_whether_the_page_is_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "cli.md"
    missing = run("--check", str(page))
    assert missing.returncode == 1 and "is not up to date: python -m" in missing.stderr
    assert run(str(page)).returncode == 0
    assert page.read_text() == reference()
    assert run("--check", str(page)).returncode == 0
    page.write_text(page.read_text().replace("--output", "--input"))
    assert run("--check", str(page)).returncode == 1


def test_help_and_unknown_options_write_no_file(tmp_path: Path) -> None:
    before = PAGE.read_text()
    helped = subprocess.run(
        [sys.executable, "-m", "llmasos_app.cli.reference", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert helped.returncode == 0 and "--check" in helped.stdout
    assert run("--checks").returncode == 2
    assert not list(tmp_path.iterdir()) and PAGE.read_text() == before
