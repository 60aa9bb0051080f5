# SPDX-License-Identifier: Apache-2.0
"""A board's reset: on from power-up, until clock and button have been good for its length, and on again for that long after each fault."""

from pathlib import Path

import numpy as np

from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

FILES = [Path(__file__).parents[2] / "hw" / "synth" / "rtl" / "reset_sync.sv", Path(__file__).parent / "reset_sync_unit.sv"]
COUNTS = (1, 3, 5)  # bits; the reset takes 2**bits + 2 cycles
CLOCK, BUTTON = 1, 2


def inputs(bits: int) -> np.ndarray:
    """Good times of about the reset's length and longer, between them a cycle or more without clock, with the button, or both."""
    rng, length, parts = np.random.default_rng(bits), 1 << bits, []
    for good in [*range(length - 1, length + 4), *rng.integers(1, 4 * length, 60).tolist()]:
        parts += [np.full(rng.integers(1, 4), rng.choice([0, BUTTON, CLOCK | BUTTON])), np.full(good, CLOCK)]
    return np.concatenate(parts)


def resets(said: np.ndarray, bits: int) -> np.ndarray:
    """Cycle t is without reset if all of 2**bits inputs up to that of t - 3 were good."""
    length = 1 << bits
    good = np.concatenate([np.zeros(length + 2, bool), said == CLOCK])
    return np.array([not good[t : t + length].all() for t in range(len(said))])


def test_the_reset_lasts_its_length_after_power_up_and_each_fault():
    cases = []
    for bits in COUNTS:
        said = inputs(bits)
        stimulus = Stimulus(said[:, None], np.zeros(len(said), bool), 2)
        cases.append(UnitCase("reset_sync_unit", {"COUNT_W": bits}, {"s": stimulus}, OutSpec("m", 1, 8, False), len(said)))
    for bits, case, result in zip(COUNTS, cases, run_units(cases, FILES, resets=0), strict=True):
        got, want = result.beats[:, 0] & 1 == 1, resets(case.inputs["s"].beats[:, 0], bits)
        assert (np.diff(result.cycle) == 1).all() and 0.1 < want.mean() < 0.9
        assert (got == want).all(), f"COUNT_W {bits}: {(got != want).sum()} of {got.size} cycles differ, first {np.argmax(got != want)}"
        assert result.beats[-1, 0] >> 1 == (1 << bits) + 2, "edges from power-up to the end of the reset"
