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
    (3, 3, 7, 1, (20, 30, 20), "pairs"),
    (2, 2, 11, 1, (64, 64, 64), "packs"),  # which leave at the end alone
]
BORDER_W, ALL = 3, (0, 1, 0, 1)  # turns in which all keys are seen
NOT_TOLD = {"n_valid": "1'b0", "n_data": "1'b0", "n_last": "1'b0"}


def wrapped(codes: np.ndarray) -> np.ndarray:
    """As W bits, signed, have them."""
    return (codes + (1 << W - 1)) % (1 << W) - (1 << W - 1)


def told(rng: np.random.Generator, lengths: np.ndarray, kind: str) -> tuple[Stimulus, np.ndarray]:
    """What is told of each sentence: of pairs the border, of packs the tokens of each of their sentences; and what a layer adds to its first token, [turn, S]."""
    if kind == "pairs":
        borders = rng.integers(0, lengths + 1)
        return Stimulus(borders.reshape(-1, 1), np.ones(len(borders), dtype=bool), BORDER_W), np.outer(1 - np.array(ALL), borders)
    ends = [np.append(np.flatnonzero(rng.random(n - 1) < 0.5), n - 1) + 1 for n in lengths]
    own = np.concatenate([np.diff(e, prepend=0) for e in ends])
    last = np.isin(np.arange(len(own)) + 1, np.cumsum([len(e) for e in ends]))
    return Stimulus(own.reshape(-1, 1), last, BORDER_W), np.tile([e[0] for e in ends], (TURNS, 1))


def case(
    inside: int, labels: int, step: int, patience: int, thresholds: tuple[int, ...], kind: str = "", *, seed: int
) -> tuple[UnitCase, np.ndarray, np.ndarray]:
    """Random sentences, pairs or packs; their answers, and the off-ramps that they leave at. Elements grow by different steps, so that others come to be best."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, MAX_TOKENS + 1, SENTENCES)
    lengths[SENTENCES // 2 :] = np.where(rng.random(SENTENCES - SENTENCES // 2) < 0.7, 1, lengths[SENTENCES // 2 :])
    tokens = wrapped(rng.integers(-32, 32, (lengths.sum(), labels)) // rng.choice([1, 8, 16], (lengths.sum(), 1)))
    first = tokens[np.cumsum(lengths) - lengths]
    n, more = told(rng, lengths, kind) if kind else (None, np.zeros((TURNS, SENTENCES), dtype=np.int64))
    sums = [first + step * turn * np.arange(1, labels + 1) + more[:turn].sum(axis=0)[:, None] for turn in range(1, TURNS + 1)]
    want, left = off_ramps([wrapped(own) for own in sums], np.array(thresholds), patience)
    last = np.zeros(tokens.size, dtype=bool)
    last[np.cumsum(lengths) * labels - 1] = True
    params = {"TURNS": TURNS, "SENTENCES": inside, "MAX_TOKENS": MAX_TOKENS, "LABELS": labels, "W": W, "STEP": step, "PATIENCE": patience, "LATENCY": 3 + seed}
    params["THRESHOLDS"] = sum(t << turn * (W + 1) for turn, t in enumerate(thresholds))
    params |= {"BORDER_W": BORDER_W, "ALL": sum(a << turn for turn, a in enumerate(ALL)), "PACK": int(kind == "packs")} if kind else {}
    inputs = {"s": Stimulus(tokens.reshape(-1, 1) % (1 << W), last, W)} | ({"n": n} if kind else {})
    return UnitCase("loop_unit", params, inputs, OutSpec("m", 1, W, True), want.size, tied={} if kind else NOT_TOLD), want, left


def simulate(rtl: Sequence[Path] = RTL, rules: Sequence[tuple] = RULES, **how) -> list[np.ndarray]:
    """Run all cases and compare; where their sentences leave."""
    cases = [case(*rule, seed=seed) for seed, rule in enumerate(rules)]
    results = run_units([c for c, *_ in cases], rtl, **how)
    for (unit, want, _), got in zip(cases, results, strict=True):
        labels = want.shape[1]
        assert_equal_streams(f"loop_unit {dict(unit.params)}", got, want.reshape(-1, 1), np.arange(want.size) % labels == labels - 1)
    return [left for *_, left in cases]
