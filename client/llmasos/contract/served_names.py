"""The names of Triton models where one server has several models of users.

The model served as NAME is asked as NAME, and its parts are NAME.engine, NAME.tokenizer and
NAME.detokenizer. The first language model keeps the plain names for its parts (`engine`, ...),
so clients that know no names, and those of the classic repository, reach it.
"""

from __future__ import annotations

import re

from llmasos.contract.repository import MODELS
from llmasos.errors import InvalidRequestError

_PLAIN = re.compile(r"\w[\w.-]*", re.ASCII)
_MAX_LENGTH = 64
_SUFFIXES = tuple(f".{model}" for model in MODELS)


def part_name(served: str, part: str) -> str:
    """Returns the name of a part, such as `engine`, of the model that is served as `served`."""
    return f"{served}.{part}"


def sibling(model: str, part: str) -> str:
    """Returns the part of the same served model as another part: of `a.engine`, `a.tokenizer`."""
    served, dot, _ = model.rpartition(".")
    return f"{served}{dot}{part}"


def is_engine(model: str) -> bool:
    """Whether a Triton model's name is that of an engine."""
    return model.rpartition(".")[2] == "engine"


def checked_name(name: str) -> str:
    """Returns a name under which a model may be served; raises InvalidRequestError for another."""
    if not _PLAIN.fullmatch(name) or len(name) > _MAX_LENGTH:
        raise InvalidRequestError(
            f"a served model's name has up to {_MAX_LENGTH} letters, digits, dots, hyphens and "
            f"underscores, got {name!r:.100}"
        )
    if name in MODELS or name.endswith(_SUFFIXES):
        raise InvalidRequestError(
            f"a model cannot be served as {name!r}: that is the name of a part of the repository"
        )
    return name


def name_from(text: str) -> str:
    """Returns a name made from a checkpoint's: what no name may have becomes a hyphen."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:_MAX_LENGTH]
    return plain or "model"
