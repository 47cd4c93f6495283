"""`python -m llmasos_builder.architectures.page [ROOT]`: writes the tables of the models.

They are the table of docs/models.md and the shorter one of README.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from llmasos_builder.architectures.encoder_decoders import encoder_decoders_table
from llmasos_builder.architectures.encoders import encoders_table
from llmasos_builder.architectures.supported import SUPPORTED, models_table

_MODELS = re.compile(
    r"(<!-- models table: begin -->\n).*?(\n<!-- models table: end -->)", re.DOTALL
)
_ENCODERS = re.compile(
    r"(<!-- encoders table: begin -->\n).*?(<!-- encoders table: end -->)", re.DOTALL
)
_ENCODER_DECODERS = re.compile(
    r"(<!-- encoder-decoders table: begin -->\n).*?(<!-- encoder-decoders table: end -->)",
    re.DOTALL,
)
_README = re.compile(r"(\n\| architecture \| examples \|\n\|---\|---\|\n)(?:\|.*\n)+")


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    _replace(root / "docs" / "models.md", _MODELS, models_table())
    _replace(root / "docs" / "models.md", _ENCODERS, encoders_table() + "\n")
    _replace(root / "docs" / "models.md", _ENCODER_DECODERS, encoder_decoders_table() + "\n")
    rows = "".join(f"| `{name}` | {row.examples} |\n" for name, row in SUPPORTED.items())
    _replace(root / "README.md", _README, rows)
    sys.stderr.write(f"wrote the tables of docs/models.md and README.md under {root}\n")


def _replace(page: Path, table: re.Pattern[str], content: str) -> None:
    """Replaces the text after the first group, up to the second one if there is one."""
    text = page.read_text(encoding="utf-8")
    ends = r"\g<2>" if table.groups == 2 else ""
    escaped = content.replace("\\", r"\\")
    new, count = table.subn(rf"\g<1>{escaped}{ends}", text)
    assert count == 1, f"{page} has {count} tables of the models"
    page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
