# SPDX-License-Identifier: Apache-2.0
"""Input codes for the tests of the matrix operators."""

from __future__ import annotations

import numpy as np

from bitloom.hw.graph import Tensor


def corners(rng: np.random.Generator, tensor: Tensor, tokens: int) -> np.ndarray:
    """Codes [tokens, C]: rows of the largest, smallest, alternating and zero codes, random rows between."""
    channels = np.arange(tensor.channels)
    codes = rng.integers(tensor.low, tensor.high + 1, (tokens, len(channels)))
    alternating = np.where(channels % 2, tensor.low, tensor.high)
    for index, row in enumerate((tensor.high, tensor.low, alternating, 0)):
        codes[2 * index : 2 * index + 1] = row
    return codes


def borders_of(rng, lengths, keys):
    """Tokens of the first sentences of pairs: none, some or all of each; None where the keys do not depend on it."""
    return np.where(rng.integers(0, 4, len(lengths)) > 0, rng.integers(0, np.array(lengths) + 1), lengths) if keys == "segment" else None
