"""`llmasos doctor`: what this machine has, and what each target can run here."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Show what this machine has, and what each target can run here."""
    from llmasos_runtime.diagnosis import diagnose
    from rich.console import Console
    from rich.table import Table

    findings = diagnose()
    table = Table(show_header=False)
    for finding in findings:
        text = f"missing: {finding.text}" if finding.is_problem else finding.text
        table.add_row(finding.subject, text)
    Console().print(table)
    if any(finding.is_problem for finding in findings):
        raise typer.Exit(1)
