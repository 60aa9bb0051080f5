# SPDX-License-Identifier: Apache-2.0
"""The plan of a graph on boards."""

import pytest
from encoders import random_encoder

from bitloom.hw import image
from bitloom.hw.board import Board
from bitloom.hw.build import macs_per_sentence, weight_bits
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve
from bitloom.hw.plan.table import folds, plan


@pytest.fixture(scope="module")
def graph():
    return random_encoder(3, layers=2, hidden=32, heads=2, intermediate=64, max_tokens=16, weight_bits=(2,), act_bits=(4,), residual_bits=(8,))


def test_sizes_by_component(graph):
    table = plan(graph, [])
    by_name = {c.name: c for c in table.components}
    assert table.total.macs == macs_per_sentence(graph, 16) and table.total.weight_bits == weight_bits(graph)
    assert table.total.parameters == sum(value.size for value in graph.params.values())
    up = by_name["layer.*.ffn.up.acc"]
    assert (up.nodes, up.parameters, up.weight_bits, up.macs) == (2, 2 * (32 * 64 + 64), 2 * 2 * 32 * 64, 2 * 16 * 32 * 64)
    assert by_name["embeddings.sum"].host and by_name["layer.*.scores.acc"].macs == 2 * 16 * 16 * 32


def test_a_board_that_fits_and_one_that_does_not(graph):
    ulx3s, icebreaker = plan(graph, [Board.load("ulx3s_85f"), Board.load("icebreaker")], lengths=[3, 16]).boards
    folding = solve(graph, HardwareConfig(board="ulx3s_85f"))
    assert ulx3s.folding == folding and ulx3s.binds == folding.bound_by != ""
    guess = predict(Design(graph, folding), [16] * 5)
    assert ulx3s.interval == guess.out_last[-1] - guess.out_last[-2] and ulx3s.latency == {n: predict(Design(graph, folding), [n]).latency[0] for n in (3, 16)}
    assert set(ulx3s.used) == {"LUT4", "FF", "MULT18X18D", "DP16KD"} and all(use.used <= use.available for use in ulx3s.used.values())
    assert ulx3s.sentences_per_second == pytest.approx(1e8 / ulx3s.interval)
    assert ulx3s.useful == pytest.approx(macs_per_sentence(graph, 16) / (folding.multipliers * ulx3s.interval)) and ulx3s.fetched == 0
    assert icebreaker.folding is None and "folding: icebreaker: got" in icebreaker.problem and icebreaker.used[icebreaker.binds].share > 1
    assert icebreaker.sentences_per_second == 0 and not icebreaker.latency


def test_a_goal_stands_apart_from_the_boards(graph):
    goal = HardwareConfig(multipliers=60, clock_mhz=200)
    table = plan(graph, [Board.load("zcu104")], goal, clock_mhz=150)
    assert table.goal.folding == solve(graph, goal) and (table.goal.board, table.goal.used, table.goal.clock_mhz) == ("", {}, 200)
    assert table.boards[0].folding.multipliers > 60 and table.boards[0].clock_mhz == 150
    shown = folds(graph, table.goal.folding)
    fold = table.goal.folding.folds["layer.0.ffn.up.acc"]
    assert shown["layer.*.ffn.up.acc"] == f"{fold.pe} x {fold.simd}" and set(shown) < {c.name for c in table.components}


def test_weights_from_memory_tell_their_rate(graph):
    """A sentence of 16 tokens in blocks of 8: what the image says is read, twice a sentence."""
    goal = plan(graph, [], HardwareConfig(multipliers=20, layers=1, memory=MemoryConfig(block=8, data_bits=64))).goal
    design = Design(graph, goal.folding)
    beats = int(image.reads(design, [16]).sum() - image.reads(design, []).sum())  # but for what is loaded once
    assert goal.fetched == pytest.approx(8 * beats / goal.interval) and 0 < goal.useful <= 1


def test_a_goal_that_nothing_meets(graph):
    (on_board, alone) = (plan(graph, [], HardwareConfig(target_cycles=3, board=board)).goal for board in ("ulx3s_85f", None))
    assert on_board.folding is alone.folding is None and "target_cycles 3, must be at least" in alone.problem and on_board.board == "ulx3s_85f"
