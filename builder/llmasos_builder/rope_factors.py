"""Factors of rotary frequencies, stored in GGUF files and computed by networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def llama3_factors(scaling: dict[str, Any], *, head_dim: int, theta: float) -> NDArray[np.float64]:
    """Returns the divisor of each frequency (Llama 3.1's reference implementation)."""
    wavelengths = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    turns = scaling["original_max_position_embeddings"] / wavelengths
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    factors: NDArray[np.float64] = 1.0 / ((1.0 - smooth) / scaling["factor"] + smooth)
    return factors
