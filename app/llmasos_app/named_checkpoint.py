"""Models as the command line names them: a checkpoint, or name=checkpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmasos.cache import expanded
from llmasos.contract.served_names import checked_name
from llmasos.errors import InvalidRequestError

_NAMED = re.compile(r"(?P<name>[^/=]*)=(?P<checkpoint>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCheckpoint:
    """name: by which clients ask for it; None if the user gave none."""

    checkpoint: str
    name: str | None

    @classmethod
    def parse(cls, text: str) -> NamedCheckpoint:
        """A path that is there is one, whatever stands in it; raises InvalidRequestError."""
        parts = _NAMED.fullmatch(text)
        if parts is None or _exists(text):
            return cls(checkpoint=text, name=None)
        if not parts["checkpoint"]:
            raise InvalidRequestError(f"{text!r:.100} names a model without its checkpoint")
        return cls(checkpoint=parts["checkpoint"], name=checked_name(parts["name"]))


def _exists(text: str) -> bool:
    try:
        return expanded(text).exists()
    except OSError:  # such as a name that is too long
        return False


def named_checkpoints(texts: Sequence[str]) -> list[NamedCheckpoint]:
    """Each of them; raises InvalidRequestError for a name that is given twice."""
    found = [NamedCheckpoint.parse(text) for text in texts]
    names = [one.name for one in found if one.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequestError(f"two models would be served as {name!r}")
    return found
