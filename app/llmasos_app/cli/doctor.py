"""`llmasos doctor`: what this machine has, and what each target can run here."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Show what this machine has, where it can be written to, and what each target runs here."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from llmasos_app.diagnosis import diagnose

    findings = diagnose()
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = f"problem: {finding.text}" if finding.is_problem else finding.text
        table.add_row(finding.subject, Text(text))  # brackets are no markup
    Console().print(table)
    if any(finding.is_problem for finding in findings):
        raise typer.Exit(1)
