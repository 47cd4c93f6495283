"""Imported before torch and transformers: without them the tests that compare are skipped."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is not installed; .venv-test has it")
