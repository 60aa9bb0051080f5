# SPDX-License-Identifier: Apache-2.0
"""Every style of multipliers makes every product of two weights with one activation: all of them, not samples."""

from pathlib import Path

import numpy as np
import pytest
from sweep import corners_or_all

from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

RTL = sorted((Path(__file__).parents[2] / "hw" / "rtl").glob("*.sv")) + [Path(__file__).parent / "mac_unit.sv"]
# bits of x, signed, bits of a weight, style
CASES = [
    (8, True, 4, "two"),
    (8, False, 4, "two"),
    (8, False, 3, "two"),
    (4, True, 6, "two"),
    (2, False, 2, "two"),
    (8, False, 4, "lut"),
    (8, True, 2, "lut"),
    (5, True, 5, "lut"),
    (8, False, 4, "one"),
    (8, True, 1, "one"),
]


def signed(codes: np.ndarray, bits: int) -> np.ndarray:
    return (codes ^ (1 << bits - 1)) - (1 << bits - 1)


@pytest.mark.parametrize("kinds", corners_or_all(CASES, (2, 4, 6, 9)))
def test_all_products(kinds):
    cases, wanted = [], []
    for x_bits, x_signed, w_bits, style in kinds:
        words = np.arange(1 << x_bits + 2 * w_bits)
        x = words & (1 << x_bits) - 1
        weights = np.stack([words >> x_bits + w_bits * row & (1 << w_bits) - 1 for row in (0, 1)], axis=1)
        weights = 2 * weights - 1 if w_bits == 1 else signed(weights, w_bits)
        wanted.append(weights * (signed(x, x_bits) if x_signed else x)[:, None])
        params = {"X_W": x_bits, "X_SIGNED": int(x_signed), "W_W": w_bits, "MUL_STYLE": style}
        stimulus = Stimulus(words[:, None], np.zeros(len(words), bool), x_bits + 2 * w_bits)
        cases.append(UnitCase("mac_unit", params, {"s": stimulus}, OutSpec("m", 2, x_bits + w_bits, True), len(words)))
    for case, result, want in zip(cases, run_units(cases, RTL), wanted, strict=True):
        wrong = np.argwhere(result.beats != want)
        assert not len(wrong), f"{dict(case.params)}: {len(wrong)} of {want.size} products differ, first of beat {wrong[0]}"
