"""Skips a test module where native code can be neither compiled nor run."""

from __future__ import annotations

import pytest
from llmasos.engine.cpu_kind import this_cpu_kind

pytest.importorskip("numba", reason="native code is compiled with numba")
if this_cpu_kind() is None:
    pytest.skip("no native code exists for this processor", allow_module_level=True)
