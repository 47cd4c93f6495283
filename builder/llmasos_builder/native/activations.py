"""Names of the activations that have a kernel; the kernels themselves need numba."""

from __future__ import annotations

ACTIVATION_NAMES = frozenset({"silu", "gelu", "gelu_tanh", "relu"})
