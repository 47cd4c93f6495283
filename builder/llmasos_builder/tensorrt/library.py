"""The one place that imports TensorRT, in whichever of its two forms is installed.

`tensorrt_rtx` compiles ahead of time and needs no GPU for it; `tensorrt` compiles on the GPU that
will run the engine, data-centre GPUs included. The parts of their Python interfaces used here are
the same, and neither has type stubs, so values from them are Any.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

from llmasos.engine.engine_io import TENSORRT_EXTRAS
from llmasos.errors import PlanError

LibraryName = Literal["tensorrt_rtx", "tensorrt"]


def load_library(names: Sequence[LibraryName] = ("tensorrt_rtx", "tensorrt")) -> Any:
    """Returns the module of the first of these that is installed.

    Raises PlanError, naming what to install, if none is or if it cannot be loaded.
    """
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise PlanError(f"{name} cannot be loaded: {error}", hint=_install(name)) from error
        except (ImportError, OSError) as error:
            raise PlanError(f"{name} cannot be loaded: {error}", hint=_install(name)) from error
    raise PlanError(
        f"a TensorRT engine needs {' or '.join(names)}, which is not installed",
        hint=_install(names[0]),
    )


def _install(name: str) -> str:
    return f"install it: pip install '{TENSORRT_EXTRAS[name]}'"
