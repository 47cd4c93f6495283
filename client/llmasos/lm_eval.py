"""The stable name of the harness' model: `python -m llmasos.lm_eval run --model llmasos …`.

The code is in `llmasos_app.lm_eval`. As with `llmasos.LLM`, it is imported when it is used.
"""

from __future__ import annotations

import runpy
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_HOME = "llmasos_app.lm_eval"


def __getattr__(name: str) -> Any:
    return getattr(import_module(_HOME), name)


if __name__ == "__main__":
    if find_spec("lm_eval") is None:
        sys.exit("error: lm_eval is not installed; pip install 'llmasos[evaluate]'")
    runpy.run_module(_HOME, run_name="__main__")
