# SPDX-License-Identifier: Apache-2.0
"""loop and off_ramps: each sentence leaves at the off-ramp that the golden function says, with its logits, in the order in which it came."""

import numpy as np
import pytest
from loop_bench import RTL, SENTENCES, TURNS, simulate

from bitloom.sim.errors import SimulationError


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
    "what has left is not dropped": ("loop", "back_valid && drops_q == '0 && !stale;", "back_valid && !stale;"),
    "place of one that goes round": ("loop", "after = leaves ? '0 :", "after = of_turn == '0 ? '0 :"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault, tmp_path):
    """And named: which beat of which stream differs, or never comes."""
    module, before, after = FAULTS[fault]
    text = (RTL[0].parent / f"{module}.sv").read_text()
    assert text.count(before) == 1
    (tmp_path / f"{module}.sv").write_text(text.replace(before, after))
    rtl = [path for path in RTL if path.stem != module] + [tmp_path / f"{module}.sv"]
    with pytest.raises((AssertionError, SimulationError), match="loop_unit"):
        simulate(rtl, stall_out=0.97 if module == "loop" else 0.0, timeout_cycles=3000)
