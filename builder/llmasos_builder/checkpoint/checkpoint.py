"""A checkpoint: what a network is built from, whichever form it came in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos.engine.plan import record_file
from llmasos.errors import CheckpointError

from llmasos_builder.checkpoint.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """An opened checkpoint.

    source: what the caller asked for. name: a short name of the model. config: as in a
    Hugging Face config.json. tokenizer_files: what the plan's tokenizer needs, content by
    file name. files: every file that was read, by the name it has in the checkpoint.
    """

    source: str
    name: str
    config: Mapping[str, Any]
    weights: Weights
    tokenizer_files: Mapping[str, bytes]
    files: Mapping[str, Path]

    def sha256(self, known: Mapping[str, str] | None = None) -> str:
        """One hash for all its files. known: of files that were hashed already, by name.

        Of a single file it is that file's own; of several, that of what `sha256sum` prints
        for them in order of their names.
        """
        known = known or {}
        digests = {n: known.get(n) or _sha256(path) for n, path in sorted(self.files.items())}
        if len(digests) == 1:
            return next(iter(digests.values()))
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path) -> str:
    return record_file(path, error=CheckpointError).sha256
