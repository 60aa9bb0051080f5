# SPDX-License-Identifier: Apache-2.0
"""Every style of multipliers makes every product of its rows' weights with one activation: all of them, not samples."""

from pathlib import Path

import numpy as np
import pytest
from sweep import corners_or_all

from bitloom.hw.cost.multipliers import Operands, multiplier_style
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

RTL = sorted((Path(__file__).parents[2] / "hw" / "rtl").glob("*.sv")) + [Path(__file__).parent / "mac_unit.sv"]
# bits of x, signed, bits of a weight, style, rows, no weight is the least
CASES = [
    (8, True, 4, "two", 2, False),
    (8, False, 4, "two", 2, False),
    (8, False, 3, "two", 2, False),
    (4, True, 6, "two", 2, False),
    (2, False, 2, "two", 2, False),
    (8, False, 4, "lut", 2, False),
    (8, True, 2, "lut", 2, False),
    (5, True, 5, "lut", 2, False),
    (8, False, 4, "one", 2, False),
    (8, True, 1, "one", 2, False),
    (8, True, 4, "two", 2, True),
    (8, False, 4, "two", 2, True),
    (4, True, 3, "three", 3, True),
    (3, False, 4, "three", 3, False),
    (4, True, 4, "three", 4, True),  # a second multiplier for one row
    (3, True, 3, "four", 4, True),
    (2, False, 3, "four", 4, False),
    (1, True, 3, "four", 4, True),  # the narrowest parts that there are
    (1, False, 3, "four", 4, False),
    (4, True, 4, "four", 4, True),
    (4, False, 4, "four", 4, True),
]


def signed(codes: np.ndarray, bits: int) -> np.ndarray:
    return (codes ^ (1 << bits - 1)) - (1 << bits - 1)


@pytest.mark.parametrize("kinds", corners_or_all(CASES, (2, 4, 6, 9, 11, 12, 15, 17, 18)))
def test_all_products(kinds):
    cases, wanted = [], []
    for x_bits, x_signed, w_bits, style, rows, narrow in kinds:
        words = np.arange(1 << x_bits + rows * w_bits)
        codes = np.stack([words >> x_bits + w_bits * row & (1 << w_bits) - 1 for row in range(rows)], axis=1)
        weights = 2 * codes - 1 if w_bits == 1 else signed(codes, w_bits)
        if narrow:
            there = (weights > -(1 << w_bits - 1)).all(axis=1)
            words, weights = words[there], weights[there]
        x = words & (1 << x_bits) - 1
        wanted.append(weights * (signed(x, x_bits) if x_signed else x)[:, None])
        params = {"X_W": x_bits, "X_SIGNED": int(x_signed), "W_W": w_bits, "PE": rows, "W_NARROW": int(narrow), "MUL_STYLE": style}
        stimulus = Stimulus(words[:, None], np.zeros(len(words), bool), x_bits + rows * w_bits)
        cases.append(UnitCase("mac_unit", params, {"s": stimulus}, OutSpec("m", rows, x_bits + w_bits, True), len(words)))
    for case, result, want in zip(cases, run_units(cases, RTL), wanted, strict=True):
        wrong = np.argwhere(result.beats != want)
        assert not len(wrong), f"{dict(case.params)}: {len(wrong)} of {want.size} products differ, first of beat {wrong[0]}"


@pytest.mark.parametrize(
    ("operands", "family", "pe", "style"),
    [
        ((8, True, 4, True), "ecp5", 8, "two"),
        ((8, True, 4, True), "zynq-ultrascale+", 8, "three"),  # 26 of 27 bits
        ((8, False, 4, True), "zynq-ultrascale+", 8, "two"),
        ((4, True, 4, True), "ecp5", 8, "three"),  # 18 of 18 bits
        ((4, True, 4, False), "ecp5", 8, "two"),
        ((4, True, 4, True), "artix-7", 8, "four"),  # 25 of 25 bits
        ((4, True, 4, True), "artix-7", 3, "three"),  # one multiplier in any case
        ((4, True, 4, True), "ecp5", 4, "two"),  # two multipliers in any case
        ((4, True, 4, True), None, 1, "one"),
        ((8, True, 8, True), "ecp5", 8, "one"),
        ((8, True, 8, True), "zynq-ultrascale+", 8, "two"),
        ((4, True, 2, True), "artix-7", 8, "lut"),
    ],
)
def test_as_many_rows_as_fit_share_a_multiplier(operands, family, pe, style):
    assert multiplier_style(Operands(*operands), family, pe) == style
