"""The columns of a report, as text for terminals, Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Sequence

from llmasos.byte_size import format_bytes

from llmasos_app.report.measurement import Measurement

COLUMNS = (
    "model",
    "target",
    "on disk",
    "memory",
    "load",
    "first token",
    "tokens/s, 1 stream",
    "tokens/s, 8 streams",
    "perplexity",
    "increase",
    "KL",
    "same token",
)


def cells(row: Measurement, reference: Measurement) -> tuple[str, ...]:
    """Returns the text of each column of a row."""
    speed = row.speed
    increase = row.perplexity / reference.perplexity - 1
    return (
        row.name,
        row.target,
        format_bytes(row.disk_bytes),
        format_bytes(speed.memory_bytes),
        f"{speed.load_s:.2f} s",
        f"{speed.first_token_ms:.1f} ms",
        f"{speed.tokens_per_s[0]:.1f}",
        f"{speed.tokens_per_s[1]:.1f}",
        f"{row.perplexity:.3f}",
        f"{increase:+.1%}",
        f"{row.kl_divergence:.4f}",
        f"{row.agreement:.1%}",
    )


def markdown(rows: Sequence[Measurement], reference: Measurement) -> str:
    """Returns a Markdown table of all rows."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(cells(row, reference) for row in rows)]
    return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|")
