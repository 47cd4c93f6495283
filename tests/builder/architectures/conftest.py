"""What these tests need of transformers before any of them imports it."""

from __future__ import annotations

import sys

# The folder tests/triton is on the path under the name of a package that torch looks for.
sys.modules["triton"] = None  # type: ignore[assignment]
