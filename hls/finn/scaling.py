# SPDX-License-Identifier: Apache-2.0
"""Rescaling as FINN's Requant: y = clip(round(x*scale + bias)), constants in float32, equal to the golden for every reachable accumulator.

A Requant needs one multiplier a lane where thresholds need 2**bits - 1 words a channel. The golden's bias and rounding term have more digits than
float32 holds; but since accumulators are integers, all biases between two bounds give the same codes. The middle of that interval is taken, and its
distance to both bounds checked. FINN's RTL computes the product exactly (`Requant.decompose_params`), so it gives the golden's codes; FINN's Python
execution and QONNX compute in float32, whose rounding makes a few codes differ by one.
"""

from __future__ import annotations

import numpy as np

from bitloom.hls.finn import thresholds as th

SLACK = 2.0**-22  # FINN's RTL aligns the bias to at least 23 fraction bits of y and cuts off the rest


def of_requant(mult: np.ndarray, shift: int, low: int, high: int, offset: np.ndarray | int, reach: np.ndarray | int) -> tuple[np.ndarray, np.ndarray] | None:
    """scale, bias float32 [C] or [1] with clip(round(x*scale + bias)) = clip(((x + offset)*mult + half) >> shift) for |x| <= reach.

    No exact sum comes so close to a tie that the rounding mode or the cut-off bits of the RTL's fixed point could matter.
    returns  None where no float32 constants do that
    """
    limits = th.of_requant(mult, shift, low, high, offset)
    scale = (np.asarray(mult, dtype=np.float64).reshape(-1, 1) / 2.0**shift).repeat(len(limits) // np.size(mult), axis=0)
    if (scale.astype(np.float32) != scale).any():
        return None
    ties = np.arange(low + 1, high + 1)[None] - 0.5
    reach = np.asarray(reach).reshape(-1, 1)
    inside = (limits > -reach) & (limits <= reach)
    bottom = np.where(inside, ties - limits * scale, -np.inf).max(axis=1)  # a threshold's sum must reach its tie
    top = np.where(inside, ties - (limits - 1) * scale, np.inf).min(axis=1)  # the sum right below must not
    bottom, top = _outside(scale[:, 0], limits, ties[0], reach, bottom, top)
    bias = ((bottom + top) / 2).astype(np.float32)
    if ((bias - bottom < SLACK) | (top - bias < SLACK)).any() or not _fits(scale, bias, int(reach.max()), (high - low).bit_length()):
        return None
    return scale[:, 0].astype(np.float32), bias


def _outside(scale: np.ndarray, limits: np.ndarray, ties: np.ndarray, reach: np.ndarray, bottom: np.ndarray, top: np.ndarray):
    """Bounds from the ends of the range: its last code is not passed, its first one is not missed."""
    reach = np.broadcast_to(reach[:, 0], scale.shape)
    above, below = limits > reach[:, None], limits <= -reach[:, None]
    top = np.minimum(top, np.where(above, ties, np.inf).min(axis=1) - reach * scale)
    bottom = np.maximum(bottom, np.where(below, ties, -np.inf).max(axis=1) + reach * scale)
    span = 2.0 * np.maximum(scale, 1.0)
    bottom = np.where(np.isfinite(bottom), bottom, np.where(np.isfinite(top), top - span, 0.0))
    return bottom, np.where(np.isfinite(top), top, bottom + span)


def _fits(scale: np.ndarray, bias: np.ndarray, reach: int, bits: int) -> bool:
    """The limits of FINN's fixed point (`Requant.decompose_params`), with accumulators a bit narrower than they may be."""
    inputs = reach.bit_length()
    low, high = np.frexp([scale.min(), scale.max()])[1] - 1
    return bool(high <= 16 and low >= bits - 3 - inputs and np.frexp(np.abs(bias).max())[1] - 1 <= inputs - bits)
