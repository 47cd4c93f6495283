"""`python -m llmasos_runtime.engine.metrics_page [ROOT]`: list the metrics in docs/contract.md."""

from __future__ import annotations

import sys
from pathlib import Path

from llmasos_runtime.engine.metrics import markdown_table

BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    page = root / "docs" / "contract.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    text = f"{before}{BEGIN}\n{markdown_table()}\n{END}{after}"
    page.write_text(text, encoding="utf-8")
    sys.stderr.write(f"wrote {page}\n")


if __name__ == "__main__":
    main()
