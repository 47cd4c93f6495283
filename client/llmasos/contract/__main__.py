"""`python -m llmasos.contract [DIRECTORY]`: write the config.pbtxt files of the repository."""

from __future__ import annotations

import sys
from pathlib import Path

from llmasos.contract.repository import write_repository_configs


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "model_repository")
    write_repository_configs(directory)
    sys.stderr.write(f"wrote the config.pbtxt files under {directory}\n")


if __name__ == "__main__":
    main()
