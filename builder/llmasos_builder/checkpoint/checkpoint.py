"""A checkpoint from which a network is built, in whichever form it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos.engine.plan_files import record_file
from llmasos.errors import CheckpointError

from llmasos_builder.checkpoint.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """An opened checkpoint.

    source: the name that the caller gave. name: a short name of the model. config: content of a
    Hugging Face config.json. tokenizer_files: content of the plan's tokenizer files by name.
    files: every file that was read, by its name in the checkpoint.
    """

    source: str
    name: str
    config: Mapping[str, Any]
    weights: Weights
    tokenizer_files: Mapping[str, bytes]
    files: Mapping[str, Path]

    def sha256(self, known: Mapping[str, str] | None = None) -> str:
        """Returns one hash for all its files. known: hashes that were computed already, by file
        name.

        For a single file it is the file's own hash; for several, the hash of what `sha256sum`
        prints for them in order of their names.
        """
        known = known or {}
        digests = {n: known.get(n) or _sha256(path) for n, path in sorted(self.files.items())}
        if len(digests) == 1:
            return next(iter(digests.values()))
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path) -> str:
    return record_file(path, error=CheckpointError).sha256
