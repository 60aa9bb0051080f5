# SPDX-License-Identifier: Apache-2.0
"""link_out: every word of every answer once and in order behind a reader that loses frames, then the cycles; resets in mid-answer leave nothing behind."""

from pathlib import Path

import numpy as np
import pytest

from bitloom.hw.uart import BOARD_RTL
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

FILES = [*BOARD_RTL.glob("*.sv"), *BOARD_RTL.parent.glob("*.sv"), Path(__file__).parent / "link_out_unit.sv"]
LENGTHS = (1, 3, 1, 20, 2, 5, 40, 1, 1, 9) * 12  # words of each answer
RESETS = 30
SHAPES = [(16, 64, 8), (8, 32, 16), (32, 128, 64)]  # bits of a word, words that are held, words of a frame at most


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5), (0.0, 0.8)])
def test_every_word_once_then_the_cycles(stall_in, stall_out):
    rng, cases = np.random.default_rng(1), []
    last = np.zeros(sum(LENGTHS), bool)
    last[np.cumsum(LENGTHS) - 1] = True
    for bits, depth, batch in SHAPES:
        words = rng.integers(0, 1 << bits, (sum(LENGTHS), 1))
        params = {"WORD_W": bits, "DEPTH": depth, "BATCH": batch}
        total = sum(LENGTHS) + len(LENGTHS) * 64 // bits
        cases.append(UnitCase("link_out_unit", params, {"s": Stimulus(words, last, bits)}, OutSpec("m", 1, bits, False), total))
    for (bits, _, _), case, result in zip(SHAPES, cases, run_units(cases, FILES, stall_in=stall_in, stall_out=stall_out, resets=RESETS), strict=True):
        got, want, moved = result.beats[:, 0].tolist(), case.inputs["s"].beats[:, 0], result.inputs["s"].cycle
        at, done, before, origins = 0, 0, -1, set()
        for length in LENGTHS:
            assert got[at : at + length] == want[done : done + length].tolist(), (bits, done)
            stamps = sum(word << bits * i for i, word in enumerate(got[at + length : at + length + 64 // bits]))
            start, stop, (first, final) = stamps & 0xFFFFFFFF, stamps >> 32, moved[[done, done + length - 1]].tolist()
            origins.add(stop - final)
            assert before < start < first + stop - final, (bits, done)
            at, done, before = at + length + 64 // bits, done + length, stop
        assert len(origins) == 1, "an answer ends in the cycle in which its last word moves"
