"""torch and transformers, which only distillation needs, and which have to be asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from llmasos.errors import PlanError

_NAMES = ("torch", "transformers", "matplotlib")


def check_libraries() -> None:
    """Raises PlanError, which says how to install them, where one is not there."""
    missing = [name for name in _NAMES if find_spec(name) is None]
    if missing:
        raise PlanError(
            f"distillation needs {', '.join(missing)}", hint="pip install 'llmasos[distill]'"
        )


def load_torch() -> Any:
    """Imports torch. It has the type Any, as the gate does not install it everywhere."""
    return import_module("torch")


def load_transformers() -> Any:
    """Imports transformers, without its notices."""
    library = import_module("transformers")
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library
