# SPDX-License-Identifier: Apache-2.0
"""Rescaling and tables as thresholds: y = low + number of thresholds <= x.

Thresholds are the smallest inputs that reach each output code, found from the golden formulas in integers, so a thresholding node gives the
golden code for every input: rounding half up and saturation included.
"""

from __future__ import annotations

import numpy as np

from bitloom.hw.ops.common import half

EXACT_FLOAT32 = 1 << 24  # QONNX and FINN's Python execution carry integers in float32


def of_requant(mult: np.ndarray, shift: int, low: int, high: int, offset: np.ndarray | int = 0) -> np.ndarray:
    """Thresholds of y = clip(((x + offset)*mult + half) >> shift, low, high).

    mult     int64 [C] or [1]; offset int64 [C] or a number, added before (a bias)
    returns  int64 [C, high - low]: entry k is the smallest x with y >= low + 1 + k
    """
    codes = np.arange(low + 1, high + 1, dtype=np.int64)
    mult = np.asarray(mult, dtype=np.int64).reshape(-1, 1)
    least = -((half(shift) - (codes << shift)) // mult)  # ceil((y*2**shift - half) / mult)
    return least - np.asarray(offset, dtype=np.int64).reshape(-1, 1)


def of_table(entries: np.ndarray, x_low: int, low: int, high: int) -> np.ndarray:
    """Thresholds of a table that never falls, over x = x_low, x_low + 1, ...; codes that it never reaches get one past its last input.

    returns  int64 [1, high - low]: entry k is the smallest x with entries >= low + 1 + k
    Raises ValueError: the table falls somewhere.
    """
    if (np.diff(entries) < 0).any():
        raise ValueError("thresholds: got a table that falls, must never fall; split it first")
    return x_low + np.searchsorted(entries, np.arange(low + 1, high + 1))[None]


def split(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two tables from 0 that never fall: entries = entries[0] + rising - falling (Jordan's decomposition)."""
    steps = np.diff(entries, prepend=entries[:1])
    return np.cumsum(np.maximum(steps, 0)), np.cumsum(np.maximum(-steps, 0))


def of_rounding(scale: float, low: int, high: int) -> np.ndarray:
    """Thresholds of y = clip(floor(v/scale + 1/2), low, high) for a real v; float64 [1, high - low]."""
    return (np.arange(low + 1, high + 1, dtype=np.float64)[None] - 0.5) * scale


def reachable(thresholds: np.ndarray, low: np.ndarray | int, high: np.ndarray | int) -> np.ndarray:
    """The same thresholds for inputs low .. high, none outside low .. high + 1 (where they always or never count)."""
    return np.clip(thresholds, np.asarray(low).reshape(-1, 1), np.asarray(high).reshape(-1, 1) + 1)
