# SPDX-License-Identifier: Apache-2.0
"""loop and off_ramps: each sentence leaves at the off-ramp that the golden function says, with its logits, in the order in which it came."""

from pathlib import Path

import numpy as np
import pytest

from bitloom.hw.ops.off_ramps import off_ramps
from bitloom.sim.compare import assert_equal_streams
from bitloom.sim.errors import SimulationError
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

UNIT = Path(__file__).parent / "loop_unit.sv"
RTL = [*sorted((Path(__file__).parents[2] / "hw" / "rtl").glob("*.sv")), UNIT]
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


def simulate(rtl=RTL, rules=RULES, **how) -> list[np.ndarray]:
    cases = [case(*rule, seed) for seed, rule in enumerate(rules)]
    results = run_units([c for c, *_ in cases], rtl, **how)
    for (unit, want, _), got in zip(cases, results, strict=True):
        labels = want.shape[1]
        assert_equal_streams(f"loop_unit {dict(unit.params)}", got, want.reshape(-1, 1), np.arange(want.size) % labels == labels - 1)
    return [left for *_, left in cases]


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.97), (0.5, 0.5)])
def test_every_sentence_leaves_where_it_must(stall_in, stall_out):
    """The slow consumer fills all places of answers; after each of several resets all begins anew."""
    left = simulate(stall_in=stall_in, stall_out=stall_out, seed=3)
    shares = np.array([np.bincount(own, minlength=TURNS) for own in left]) / SENTENCES
    assert (shares[0] > 0.02).all() and (shares[1, 1:] > 0.02).all() and shares[3, 0] == shares[4, -1] == 1


FAULTS = {
    "threshold off by one": ("off_ramps", "(margin >= threshold", "(margin > threshold"),
    "exit flag ignored": ("off_ramps", "TURNS - 1) || (margin", "TURNS - 1) || (1'b0 && margin"),
    "answer of another sentence": ("off_ramps", "left_q[tag] <= 1'b1", "left_q[tag ^ 1'b1] <= 1'b1"),
    "exit of the sentence before": ("off_ramps", "assign state = {tag, best_q, run}", "assign state = {tag - 1'b1, best_q, run}"),
    "stale count of agreeing off-ramps": ("off_ramps", "!agrees ? RUN_W'(1) :", "!agrees ? run_before :"),
    "best label of another sentence": ("off_ramps", "&& best_q == best_before", "&& best_q == queue_q[0][RUN_W +: LABEL_W]"),
    "an equal later label wins": ("off_ramps", "begins || logit > top_q", "begins || logit >= top_q"),
    "more answers than places": ("loop", "wire wanted = s_valid && room;", "wire wanted = s_valid;"),
    "what has left is not dropped": ("loop", "back_valid && drops_q == '0;", "back_valid;"),
    "place of one that goes round": ("loop", "state, leaves ? '0 : of_turn + 1'b1}", "state, of_turn == '0 ? '0 : of_turn + 1'b1}"),
}


@pytest.mark.parametrize("fault", [name if name == "threshold off by one" else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS])
def test_planted_faults_are_found(fault, tmp_path):
    """And named: which beat of which stream differs, or never comes."""
    module, before, after = FAULTS[fault]
    text = (RTL[0].parent / f"{module}.sv").read_text()
    assert text.count(before) == 1
    (tmp_path / f"{module}.sv").write_text(text.replace(before, after))
    rtl = [path for path in RTL if path.stem != module] + [tmp_path / f"{module}.sv"]
    with pytest.raises((AssertionError, SimulationError), match="loop_unit"):
        simulate(rtl, stall_out=0.97 if module == "loop" else 0.0, timeout_cycles=3000)
