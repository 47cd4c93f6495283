"""What a checkpoint that cannot be opened is refused with."""

from __future__ import annotations

from pathlib import Path

import pytest
from llmasos.errors import CheckpointError
from llmasos_builder.checkpoint import open_checkpoint


def refusal(source: Path | str, revision: str | None = None) -> str:
    """The message, which is one line."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(source, revision=revision)
    assert "\n" not in str(caught.value)
    return str(caught.value)
