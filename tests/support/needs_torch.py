"""Imported before torch and transformers: without them the tests that compare are skipped."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "transformers"))):
    pytest.skip("the parity tests need torch: make test installs it", allow_module_level=True)
