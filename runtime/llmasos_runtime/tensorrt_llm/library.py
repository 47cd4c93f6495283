"""The one place that imports tensorrt_llm, which brings torch and CUDA along.

Its interface is that of the versions 1.2 and 1.3; it has types, but is not there when types
are checked, so that what comes from it is Any.
"""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from typing import Any

from llmasos.errors import PlanError
from llmasos.usage_reports import turn_off_usage_reports

EXTRA = "llmasos[tensorrt-llm]"
_NAME = "tensorrt_llm"


def load_library() -> Any:
    """Imports the module; raises PlanError if it is not installed or cannot be loaded."""
    turn_off_usage_reports()
    try:
        return importlib.import_module(_NAME)
    except ModuleNotFoundError as error:
        if error.name == _NAME:
            raise _absent() from error
        raise _broken(error) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise _broken(error) from error


def check_installed() -> None:
    """Raises PlanError if it is not installed; nothing is loaded."""
    try:
        found = find_spec(_NAME)
    except ValueError:  # a module that is loaded already, and was not found as usual
        return
    if found is None:
        raise _absent()


def release_of(library: Any) -> tuple[int, int]:
    """Major and minor version; a pre-release counts as the release before it."""
    version = str(library.__version__)
    major, minor = (int(number) for number in re.findall(r"\d+", version)[:2])
    is_before = re.match(r"\d+\.\d+\.0\.?(a|b|rc|dev)", version) is not None
    return major, minor - is_before


def _absent() -> PlanError:
    return PlanError(
        f"a plan for tensorrt-llm needs the package {_NAME}, which is not installed",
        hint=f"pip install '{EXTRA}'",
    )


def _broken(error: Exception) -> PlanError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return PlanError(f"{_NAME} cannot be loaded: {reason}")
