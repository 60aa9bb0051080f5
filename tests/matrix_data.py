# SPDX-License-Identifier: Apache-2.0
"""Input codes for the tests of the matrix operators."""

from __future__ import annotations

import numpy as np

from hw.graph import Tensor


def corners(rng: np.random.Generator, tensor: Tensor, tokens: int) -> np.ndarray:
    """Codes [tokens, C]: rows of the largest, the smallest, alternating and zero codes, random rows between and after."""
    channels = np.arange(tensor.channels)
    codes = rng.integers(tensor.low, tensor.high + 1, (tokens, len(channels)))
    rows = [tensor.high + 0 * channels, tensor.low + 0 * channels, np.where(channels % 2, tensor.low, tensor.high), 0 * channels]
    for index, row in enumerate(rows):
        codes[2 * index : 2 * index + 1] = row
    return codes
