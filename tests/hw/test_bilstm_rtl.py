# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks in simulation, beside golden, ONNX Runtime and the predicted cycles.

One of the random ones alone, whatever its seed: `BITLOOM_SEEDS=17 pytest tests/hw/test_bilstm_rtl.py`.
"""

import pytest
from draws import draw_bilstm, draw_run
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make_of
from encoders import random_bilstm
from sweep import plain_or_slow, random_seeds

from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.sim.encoder_bench import longest_pause

ALL = 40
NETWORKS = {
    "last states": dict(hidden=12, units=8, classifier=6),
    "logits of tokens": dict(hidden=8, units=6, classifier=6, head="token", labels=3),
    "two layers": dict(hidden=12, units=6, classifier=4, layers=2),
}
LENGTHS = [16, 1, 2, 9, 1, 1, 16, 5, 3, 12, 7, 14, 2, 10]


@pytest.mark.parametrize("name", plain_or_slow(list(NETWORKS), ["last states"]))
@pytest.mark.parametrize("stalls", [(0.0, 0.0), pytest.param((0.4, 0.4), marks=pytest.mark.slow)])
def test_network(name, stalls, tmp_path):
    encoder = make_of(tmp_path, 5, random_bilstm(5, **NETWORKS[name]), HardwareConfig(multipliers=200), LENGTHS)
    got, report = encoder.run(stall_in=stalls[0], stall_out=stalls[1], resets=1)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if stalls == (0.0, 0.0):
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


def silent() -> tuple:
    """A graph and its hardware, whose units compute three sentences for more than 200,000 cycles without giving a beat."""
    return random_bilstm(3, hidden=16, units=32, classifier=4, max_tokens=64), HardwareConfig(multipliers=12)


def test_a_recurrent_unit_may_be_silent_for_long():
    graph, hardware = silent()
    folding = solve(graph, hardware)
    assert longest_pause(folding) > predict(Design(graph, folding), [64] * 4).out_last[0] > 250_000


@pytest.mark.slow
def test_a_silent_unit_is_not_taken_for_a_hung_one(tmp_path):
    encoder = make_of(tmp_path, 3, *silent(), [64] * 4)
    got, report = encoder.run()
    assert_equal(encoder, report)
    assert_cycles(encoder, got)


@pytest.mark.parametrize("seed", random_seeds(ALL))
def test_random_network(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # they simulate a moment
    encoder, how = make_of(tmp_path, **draw_bilstm(seed)), draw_run(seed)
    print(f"run this one alone: BITLOOM_SEEDS={seed} pytest tests/hw/test_bilstm_rtl.py; {how}")
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


def test_layers_in_turn_are_refused_in_one_line_and_not_chosen():
    graph = random_bilstm(1, hidden=8, units=4, classifier=4, layers=3, head="token")
    with pytest.raises(
        FoldingError, match="folding: layer.0.ahead: got 3 recurrent layers in turn, must each have hardware of its own; remove hardware.layers"
    ):
        solve(graph, HardwareConfig(multipliers=60, layers=1))
    assert not solve(graph, HardwareConfig(board="ulx3s_85f")).layers
