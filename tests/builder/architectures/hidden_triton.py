"""Import this before transformers: hides the folder tests/triton from torch.

That folder is on the path under the name of a package that torch looks for.
"""

from __future__ import annotations

import sys

sys.modules["triton"] = None  # type: ignore[assignment]
