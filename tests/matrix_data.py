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


def packs_of(rng, lengths) -> list[tuple[int, ...]]:
    """Tokens of the sentences of packs: one, as many as there are tokens, or any."""
    cuts = [np.flatnonzero(rng.random(n - 1) < rng.choice([0, 0.3, 1])) + 1 for n in lengths]
    return [tuple(np.diff([0, *own, n]).tolist()) for own, n in zip(cuts, lengths, strict=True)]


def borders_of(rng, lengths, keys):
    """Tokens of the first sentences of pairs: none, some or all of each; of all sentences of packs; None where the keys do not depend on it."""
    if keys == "pack":
        return packs_of(rng, lengths)
    return np.where(rng.integers(0, 4, len(lengths)) > 0, rng.integers(0, np.array(lengths) + 1), lengths) if keys == "segment" else None
