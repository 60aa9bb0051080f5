# SPDX-License-Identifier: Apache-2.0
"""Networks of cells in simulation, beside golden, ONNX Runtime and the predicted cycles: nodes of many paths that meet again.

One of the random ones alone, whatever its seed: `BITLOOM_SEEDS=17 pytest tests/hw/test_cells_rtl.py`.
"""

import pytest
from draws import draw_cells, draw_run
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make_of
from encoders import random_cells
from sweep import plain_or_slow, random_seeds

from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig

ALL = 24
CELLS = {
    "long and short paths meet": dict(cell=(("conv7",), ("skip", "dilated3"), ("skip", "max3", "mean3")), cells=2),
    "the same twice": dict(cell=(("skip",), ("skip", "skip"), ("conv3", "none", "mean3")), pooling="mean"),
    "logits of tokens": dict(cell=(("max3",), ("mean3", "dilated5")), head="token", labels=3),
}
LENGTHS = [16, 1, 2, 9, 1, 1, 16, 5]


@pytest.mark.parametrize("name", plain_or_slow(list(CELLS), ["long and short paths meet"]))
@pytest.mark.parametrize("stalls", [(0.0, 0.0), pytest.param((0.4, 0.4), marks=pytest.mark.slow)])
def test_cell(name, stalls, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder = make_of(tmp_path, 5, random_cells(5, hidden=6, **CELLS[name]), HardwareConfig(multipliers=60), LENGTHS)
    got, report = encoder.run(stall_in=stalls[0], stall_out=stalls[1], resets=1)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if stalls == (0.0, 0.0):
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


def test_a_window_waits_for_the_slower_ones_beside_it(tmp_path, monkeypatch):
    """They read one stream, so a token's last beat comes to all of them when the slowest takes it; of a sentence alone the cycles are exact."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    cell = ("max3",), ("mean3", "dilated7"), ("max3", "conv3", "conv7")
    encoder = make_of(tmp_path, 5, random_cells(5, hidden=8, cell=cell), HardwareConfig(multipliers=20), [16])
    got, report = encoder.run()
    assert_equal(encoder, report)
    assert got.out_last_cycle.tolist() == predict(Design(encoder.graph, encoder.folding), [16]).out_last


@pytest.mark.parametrize("seed", random_seeds(ALL))
def test_random_cell(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # they simulate a moment
    encoder, how = make_of(tmp_path, **draw_cells(seed)), draw_run(seed)
    print(f"run this one alone: BITLOOM_SEEDS={seed} pytest tests/hw/test_cells_rtl.py; {how}")
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)
