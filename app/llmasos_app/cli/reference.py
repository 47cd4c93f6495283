"""`python -m llmasos_app.cli.reference [--check] [PAGE]`: the page on every command and option.

It is made from the commands themselves, so that a command or an option is on the page, docs/cli.md,
when it is there. --check writes nothing, and fails where the page is another.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from llmasos_app.cli.app import app

PAGE = Path("docs", "cli.md")
_COMMAND = "llmasos"
_HEADING = """# Commands

<!-- Made by `python -m llmasos_app.cli.reference`; `make check` compares it. -->

What `llmasos COMMAND --help` prints, of all commands.
"""
_SPECIAL = re.compile(r"[\\|<>*]")


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=PAGE, help="the file of the page")
    parser.add_argument("--check", action="store_true", help="compare it, and write nothing")
    options = parser.parse_args()
    page, text = options.page, reference()
    if not options.check:
        page.write_text(text, encoding="utf-8")
        sys.stderr.write(f"wrote {page}\n")
    elif not page.is_file() or page.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{page} is not up to date: python -m {__spec__.name}\n")
        raise SystemExit(1)


def reference() -> str:
    """The page."""
    root: Any = typer.main.get_command(app)
    return "\n".join([_HEADING, *_sections(root, _COMMAND)])


def _sections(group: Any, path: str) -> Iterator[str]:
    """One for each command, in the order in which `--help` lists them."""
    context = group.context_class(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        if hasattr(command, "list_commands"):
            yield from _sections(command, f"{path} {name}")
        else:
            yield _section(command, f"{path} {name}")


def _section(command: Any, path: str) -> str:
    context = command.context_class(command, info_name=path)
    parameters = [p for p in command.get_params(context) if "--help" not in p.opts]
    shown = [p for p in parameters if not getattr(p, "hidden", False)]
    arguments = [_usage(p) for p in shown if _is_argument(p)]
    usage = " ".join([path, "[OPTIONS]", *arguments])
    rows = [f"| `{_names(p)}` | {_escaped(_meaning(p))} |" for p in shown]
    table = ["| argument or option | what it is |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([f"## {path}", "", f"{_prose(command.help or '')}    {usage}", "", *table])


def _is_argument(parameter: Any) -> bool:
    return str(parameter.param_type_name) == "argument"


def _usage(argument: Any) -> str:
    name = f"{argument.name.upper()}{'...' if argument.nargs == -1 else ''}"
    return name if argument.required else f"[{name}]"


def _names(parameter: Any) -> str:
    """What is typed; the kinds of values are left out, since versions of typer call them
    differently.
    """
    if _is_argument(parameter):
        return _usage(parameter)
    names = ", ".join(sorted(parameter.opts, key=len))
    names = " / ".join([names, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} VALUE"


def _meaning(parameter: Any) -> str:
    default = parameter.default
    said = parameter.help or ""
    if parameter.required and not _is_argument(parameter):
        return f"{said} Required."
    if not parameter.show_default or default in (None, False, ()):
        return said
    if parameter.secondary_opts and default is True:
        default = max(parameter.opts, key=len)
    return f"{said} Default: `{default}`."


def _prose(text: str) -> str:
    """Paragraphs, as they are in a docstring, each with an empty line after it."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "".join(f"{_escaped(paragraph)}\n\n" for paragraph in paragraphs)


def _escaped(text: str) -> str:
    """Without what Markdown would take for something else, but for `code`."""
    parts = _one_line(text).split("`")
    parts[::2] = [_SPECIAL.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "`".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
