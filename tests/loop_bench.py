# SPDX-License-Identifier: Apache-2.0
"""A bench of loop and off_ramps around a stand-in of a layer: sentences that leave at the off-ramp that the golden function says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bitloom.hw.ops.off_ramps import off_ramps
from bitloom.sim.compare import assert_equal_streams
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

UNIT = Path(__file__).parent / "rtl" / "loop_unit.sv"
RTL = [*sorted((Path(__file__).parents[1] / "hw" / "rtl").glob("*.sv")), UNIT]
TURNS, W, SENTENCES, MAX_TOKENS = 4, 6, 150, 5
# (sentences inside, labels, step of a turn, patience, thresholds): sure, agreeing, both; all leave at once, none does
RULES = [
    (4, 2, 11, 1, (20, 9, 15)),
    (2, 3, 7, 2, (0, 0, 0)),
    (3, 4, 13, 2, (12, 3, 8)),
    (4, 2, 5, 1, (0, 0, 0)),
    (3, 3, 9, 1, (64, 64, 64)),
    (2, 2, 11, 3, (0, 0, 0)),
]


def wrapped(codes: np.ndarray) -> np.ndarray:
    """As W bits, signed, have them."""
    return (codes + (1 << W - 1)) % (1 << W) - (1 << W - 1)


def case(inside: int, labels: int, step: int, patience: int, thresholds: tuple[int, ...], seed: int) -> tuple[UnitCase, np.ndarray, np.ndarray]:
    """Random sentences; their answers, and the off-ramps that they leave at. Elements grow by different steps, so that others come to be best."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, MAX_TOKENS + 1, SENTENCES)
    lengths[SENTENCES // 2 :] = np.where(rng.random(SENTENCES - SENTENCES // 2) < 0.7, 1, lengths[SENTENCES // 2 :])
    tokens = wrapped(rng.integers(-32, 32, (lengths.sum(), labels)) // rng.choice([1, 8, 16], (lengths.sum(), 1)))
    first = tokens[np.cumsum(lengths) - lengths]
    want, left = off_ramps([wrapped(first + step * turn * np.arange(1, labels + 1)) for turn in range(1, TURNS + 1)], np.array(thresholds), patience)
    last = np.zeros(tokens.size, dtype=bool)
    last[np.cumsum(lengths) * labels - 1] = True
    params = {"TURNS": TURNS, "SENTENCES": inside, "MAX_TOKENS": MAX_TOKENS, "LABELS": labels, "W": W, "STEP": step, "PATIENCE": patience, "LATENCY": 3 + seed}
    params["THRESHOLDS"] = sum(t << turn * (W + 1) for turn, t in enumerate(thresholds))
    inputs = {"s": Stimulus(tokens.reshape(-1, 1) % (1 << W), last, W)}
    return UnitCase("loop_unit", params, inputs, OutSpec("m", 1, W, True), want.size), want, left


def simulate(rtl: Sequence[Path] = RTL, rules: Sequence[tuple] = RULES, **how) -> list[np.ndarray]:
    """Run all cases and compare; where their sentences leave."""
    cases = [case(*rule, seed) for seed, rule in enumerate(rules)]
    results = run_units([c for c, *_ in cases], rtl, **how)
    for (unit, want, _), got in zip(cases, results, strict=True):
        labels = want.shape[1]
        assert_equal_streams(f"loop_unit {dict(unit.params)}", got, want.reshape(-1, 1), np.arange(want.size) % labels == labels - 1)
    return [left for *_, left in cases]
