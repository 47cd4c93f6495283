"""`python -m llmasos.contract [ROOT]`: write what is made from the contract table.

That is each config.pbtxt under model_repository/, and the tables of docs/contract.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from llmasos.contract.repository import write_repository_configs
from llmasos.contract.tables import write_tables


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    write_repository_configs(root / "model_repository")
    write_tables(root / "docs" / "contract.md")
    sys.stderr.write(f"wrote the config.pbtxt files and docs/contract.md under {root}\n")


if __name__ == "__main__":
    main()
