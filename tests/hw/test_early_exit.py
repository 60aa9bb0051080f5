# SPDX-License-Identifier: Apache-2.0
"""Rolled encoders with off-ramps: each sentence passes the turns that the golden model says, no other, with the same codes, in the cycles that are predicted."""

from dataclasses import replace

import numpy as np
import pytest
from draws import draw_off_ramps
from encoder_bench import Encoder, assert_cycles, assert_fills, make
from encoders import random_encoder

from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.model import check_forms
from bitloom.hw import image
from bitloom.hw.board import Board
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve
from bitloom.sim.encoder import visits
from bitloom.sim.errors import SimulationError

SEEDS = 30  # of random encoders with off-ramps; FAST of them in the plain run
FAST = (3,)
TINY = dict(layers=3, hidden=8, heads=2, intermediate=8, max_tokens=6, labels=3)


def check(encoder: Encoder, **how) -> None:
    """Every value of every visit, and what leaves; without stalls the cycles."""
    got, report = encoder.run(**how)
    assert report.ok and report.mismatches == 0 < report.values_compared, str(report)
    assert sorted(got.visits) == [(sentence, turn) for sentence, last in enumerate(encoder.exits) for turn in range(last + 1)]
    assert np.array_equal(got.outputs, encoder.want["answer"].reshape(-1))
    if Design(encoder.graph, encoder.folding).fetch:
        assert np.array_equal(got.fetched, image.reads(Design(encoder.graph, encoder.folding), encoder.lengths, encoder.exits))
    if not how.get("stall_in"):
        assert_fills(encoder, got)
    if not how.get("stall_in") and not Design(encoder.graph, encoder.folding).fetch:  # who waits for a crowded memory is estimated
        assert_cycles(encoder, got)


@pytest.mark.parametrize("seed", [seed if seed in FAST else pytest.param(seed, marks=pytest.mark.slow) for seed in range(SEEDS)])
def test_random_encoder(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder = make(tmp_path, **draw_off_ramps(seed))
    assert seed not in FAST or len(set(encoder.exits)) > 1
    check(encoder, seed=seed, resets=2, reset_within=2000)
    check(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4)
    check(encoder, seed=seed + 2, stall_in=0.1, stall_out=0.97, timeout_cycles=2_000_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_weights_in_external_memory(seed, tmp_path, monkeypatch):
    """Tiles are fetched for the sentences that are still inside alone."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    drawn = draw_off_ramps(seed)
    drawn["hardware"] = drawn["hardware"].model_copy(update={"memory": MemoryConfig(data_bits=64, block=4, latency=30), "inside": 6})
    drawn["shape"] |= {"hidden": 24, "heads": 3, "intermediate": 40}
    encoder = make(tmp_path, **drawn)
    check(encoder, seed=seed, resets=1, reset_within=5000, timeout_cycles=400_000)
    check(encoder, seed=seed + 1, stall_in=0.3, stall_out=0.3, timeout_cycles=400_000)


def test_a_new_sentence_enters_while_another_is_dropped(tmp_path, monkeypatch):
    """None comes back before what has left is dropped, so a new one that arrives meanwhile takes the place: the same order, and so cycles, as predicted."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape = dict(layers=3, hidden=16, heads=2, intermediate=32, max_tokens=16, exits=(0.0, 2))
    encoder = make(tmp_path, seed=1, hardware=HardwareConfig(target_cycles=800, layers=1), lengths=[16] * 10, shape=shape)
    got, report = encoder.run(seed=1)
    assert report.ok and set(encoder.exits) == {1, 2}
    assert got.out_last_cycle.tolist() == list(predict(Design(encoder.graph, encoder.folding), encoder.lengths, exits=encoder.exits).out_last)


@pytest.mark.slow
@pytest.mark.parametrize("seed", (0, 1, 4))  # in the codes of 2 there are so many zeros that its folding leaves some out, which is refused with by_turn
def test_constants_by_turn(seed, tmp_path, monkeypatch):
    """The turn behind the one at which a sentence leaves is not loaded, but the first one, for the next."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    drawn = draw_off_ramps(seed)
    drawn["hardware"] = drawn["hardware"].model_copy(update={"memory": MemoryConfig(data_bits=64, block=4, places=1, by_turn=True), "inside": 1})
    drawn["shape"] |= {"hidden": 24, "heads": 3, "intermediate": 40}
    encoder = make(tmp_path, **drawn)
    assert len(set(encoder.exits)) > 1
    check(encoder, seed=seed, resets=1, reset_within=5000, timeout_cycles=400_000)
    assert_cycles(encoder, encoder.run(seed=seed)[0])
    check(encoder, seed=seed + 1, stall_in=0.3, stall_out=0.3, timeout_cycles=400_000)


def test_what_leaves_early_costs_less():
    """As many cycles as turns, nearly; and without exits those of all turns."""
    graph = random_encoder(1, **TINY | {"layers": 6}, exits=(0.5, 1))
    design = Design(graph, solve(graph, HardwareConfig(multipliers=30, layers=1)))
    lengths = [6] * 24
    last, first, mixed = (predict(design, lengths, exits=exits).interval for exits in (None, [0] * 24, [2, 0] * 12))
    assert predict(design, lengths, exits=[5] * 24).interval == last
    assert first < 0.22 * last and mixed < 0.4 * last


def test_the_rule_belongs_to_the_hardware():
    """Thresholds are no memory: an image for others is one of another structure, and the message says so."""
    graph = random_encoder(1, **TINY | {"intermediate": 80}, exits=(0.5, 1))
    other = replace(graph, params=graph.params | {"answer.threshold": graph.params["answer.threshold"] + 1})
    config = HardwareConfig(multipliers=40, layers=1, memory=MemoryConfig(data_bits=64, block=4))
    told = [image.structure(Design(g, solve(g, config))) for g in (graph, other)]
    assert image.difference(*told).startswith("loop: THRESHOLDS ")


def test_order_of_visits():
    assert visits([0, 0, 1, 0, 1], 2, 3, (1, 0, 1)) == ((0, 0), (1, 0), (0, 1), (2, 0), (2, 1))
    assert visits([0], 3, 2, (1, 0)) == ((0, 0), (1, 0), (0, 1))  # what did not come stands behind
    with pytest.raises(SimulationError, match="visit 1 of the layers: got turn 1, in which no sentence can be"):
        visits([0, 1], 2, 2, (0, 1))


def test_what_is_refused():
    graph = random_encoder(1, **TINY | {"layers": 4}, exits=(0.5, 1))
    rule = "for a network with early exits, must be one that is used in turn; set hardware.layers: 1"
    for config in (HardwareConfig(multipliers=60), HardwareConfig(target_cycles=9999, memory=MemoryConfig())):
        with pytest.raises(FoldingError, match=f"folding: got all layers in hardware {rule}"):
            solve(graph, config)
    for layers in (2, 4):
        with pytest.raises(FoldingError, match=f"folding: got {layers} layers in hardware {rule}"):
            solve(graph, HardwareConfig(multipliers=60, layers=layers))
    assert solve(graph, HardwareConfig(board="ulx3s_85f"), Board.load("ulx3s_85f")).layers == 1
    with pytest.raises(FinnError, match="finn: answer: got operator 'off_ramps', must have a form"):
        check_forms(graph)
