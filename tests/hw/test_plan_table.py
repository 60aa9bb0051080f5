# SPDX-License-Identifier: Apache-2.0
"""The plan of a graph on boards."""

import time

import pytest
from encoders import random_encoder

from bitloom.hw.board import Board, boards
from bitloom.hw.build import macs_per_sentence, weight_bits
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.hw.plan.table import plan


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
    assert icebreaker.folding is None and "folding: icebreaker: got" in icebreaker.problem and icebreaker.used["LUT4"].share > 1
    assert icebreaker.sentences_per_second == 0 and not icebreaker.latency


def test_a_goal(graph):
    (fast,) = plan(graph, [Board.load("zcu104")], HardwareConfig(multipliers=60, clock_mhz=200)).boards
    assert fast.folding.multipliers <= 60 and fast.clock_mhz == 200


@pytest.mark.slow
def test_the_table_of_bert_base_and_of_all_boards_comes_in_time():
    """60 s for twelve layers of 768 on one board, 10 s for two of 128 on all boards."""
    small = random_encoder(1, layers=2, hidden=128, heads=2, intermediate=512, max_tokens=64, weight_bits=(4,))
    large = random_encoder(1, layers=12, hidden=768, heads=12, intermediate=3072, max_tokens=128, weight_bits=(1,), vocabulary=100)
    for graph, names, limit in ((small, boards().values(), 10), (large, [Board.load("vck190")], 60)):
        began = time.monotonic()
        plan(graph, names)
        assert time.monotonic() - began < limit
