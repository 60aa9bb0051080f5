# SPDX-License-Identifier: Apache-2.0
"""The cost model against synthesis, and foldings that fit boards."""

import json

import pytest
from encoders import random_encoder

from bitloom.hw.board import Board
from bitloom.hw.build import build
from bitloom.hw.cost.budget import EASY, planned
from bitloom.hw.cost.memories import Memory, block_count, map_memory
from bitloom.hw.cost.resources import COEFFICIENTS, MODULES, Cost, Estimator, cells, estimate, instance_cost
from bitloom.hw.emit import Emitter
from bitloom.hw.instance import Fold, Instance
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.fit import Fitter
from bitloom.hw.plan.folding import Folding, FoldingError
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.hw.synth import SynthError, synthesize
from bitloom.hw.synth.calibrate import measure
from bitloom.hw.synth.tools import find
from bitloom.sim.runner import cache_dir

ULX3S, NANO = Board.load("ulx3s_85f"), Board.load("tang_nano_20k")


@pytest.fixture(scope="module")
def graph():
    return random_encoder(11, layers=1, hidden=32, heads=2, intermediate=64, max_tokens=24, weight_bits=(4,), act_bits=(8,))


@pytest.mark.parametrize(
    ("width", "depth", "rom", "blocks"),
    [(128, 512, True, 4), (16, 2048, True, 2), (18, 1025, True, 2), (9, 4096, False, 2), (1, 16384, False, 1), (37, 512, True, 2), (8, 6400, False, 4)],
)
def test_blocks_have_the_aspect_ratios_of_the_board(width, depth, rom, blocks):
    assert block_count(Memory("m", width, depth, rom), ULX3S.resources.block_ram[0]) == blocks


def test_shallow_memories_are_lut_ram_and_small_roms_logic():
    assert map_memory(Memory("m", 8, 16), ULX3S).lut_ram == 2
    assert map_memory(Memory("m", 8, 1024), ULX3S).blocks == 1
    assert map_memory(Memory("m", 16, 48, rom=True), ULX3S).logic_bits == 768
    assert map_memory(Memory("m", 18, 128, rom=True), ULX3S).blocks == 1
    assert map_memory(Memory("m", 8, 256), ULX3S).blocks == 1 and map_memory(Memory("m", 11, 128), ULX3S).lut_ram == 24
    assert map_memory(Memory("m", 8, 256, rom=True), ULX3S).blocks == 0  # a tie
    assert map_memory(Memory("m", 8, 16), Board.load("icebreaker")).blocks == 1  # it has no LUT RAM


def test_every_module_that_was_measured_is_known_and_the_others_have_a_cost():
    """A new operator has a cost before it is measured."""
    assert set(json.loads(COEFFICIENTS.read_text())["lut4"]) <= set(MODULES)
    assert cells("fifo", "ff", {"pair_bits": 3, "no_such_term": 9}, 4) == pytest.approx(6.0)
    assert cells("new", "ff", {"no_such_term": 9}, 4) == pytest.approx(18.0) and cells("new", "ff", {"no_such_term": 9}, 6) == pytest.approx(13.5)
    assert 0 < cells("new", "lut", {"out_bits": 10}, 4) < 20


def test_alike_layers_cost_alike():
    """The cost is of the instance's sizes: neither the node's name nor the weights matter, and none is packed for it."""
    other = random_encoder(12, layers=2, hidden=32, heads=2, intermediate=64, max_tokens=24, weight_bits=(4,), act_bits=(8,))
    costs, fold = Estimator(ULX3S), Fold(pe=4, simd=4, lanes_in=2, lanes_out=2)

    def cost(name: str) -> Cost:
        node = other.node(name)
        return costs.cost(OPS[node.op].rtl(other, node, fold))

    assert cost("layer.0.context.acc") == cost("layer.1.context.acc") and len(costs.known) == 1
    assert cost("layer.0.query.acc").block_ram == cost("layer.1.query.acc").block_ram


def test_an_estimate_has_every_instance_of_the_encoder(graph):
    """The sum over nodes is that of the instances that are written into encoder.sv."""
    folding = solve(graph, HardwareConfig(board="ulx3s_85f"))
    emitter, total = Emitter(Design(graph, folding)), estimate(Design(graph, folding), ULX3S).total
    fifos = sum(line.strip().startswith("fifo") for line in emitter.instances)
    costs = Estimator(ULX3S)
    by_hand = sum(costs.cost(unit.instance).dsp for unit in Design(graph, folding).units)
    assert total.dsp == by_hand and fifos == sum(len(node.inputs) for node in graph.nodes if node.op != "embed")
    assert total.block_ram > 0 and total.lut > 1000


def test_the_fastest_that_fits_is_kept_within_the_budget_and_names_what_binds(graph):
    folding = solve(graph, HardwareConfig(board="tang_nano_20k"))
    costs = estimate(Design(graph, folding), NANO).total
    have = NANO.resources
    assert costs.dsp <= have.dsp.count and costs.lut <= planned(NANO)["lut"] * have.lut and costs.ff <= planned(NANO)["ff"] * have.ff
    assert costs.block_ram <= have.block_ram[0].count
    assert folding.board == "tang_nano_20k" and set(folding.bound_by.split(", ")) & {"LUT4", "FF", "MULT18X18", "BSRAM"}
    faster = solve(graph, HardwareConfig(target_cycles=folding.interval - 1))
    assert Fitter(graph, NANO).over(Fitter(graph, NANO).styled(faster)[1])


def test_a_larger_board_is_not_slower(graph):
    intervals = [solve(graph, HardwareConfig(board=name)).interval for name in ("tang_nano_20k", "ulx3s_85f", "zcu104")]
    assert intervals == sorted(intervals, reverse=True) and intervals[0] > intervals[-1]


def test_lut_multipliers_where_dsps_run_out(graph):
    interval = solve(graph, HardwareConfig(board="ulx3s_85f")).interval
    wide = solve(graph, HardwareConfig(target_cycles=interval))
    styled, costs = Fitter(graph, NANO).styled(wide)
    assert "lut" in {styled.folds[name].multiplier for name in styled.per_node}
    assert costs.total.dsp <= NANO.resources.dsp.count < estimate(Design(graph, wide), NANO).total.dsp


def test_multiplying_in_luts_where_there_are_many(graph, monkeypatch):
    """ECP5: no more DSPs than stand near what they multiply, as long as LUTs are left; the limit on LUTs is kept, the one on DSPs before it."""
    wide, have = solve(graph, HardwareConfig(multipliers=150)), ULX3S.resources

    def taken(**easy: float) -> Cost:
        monkeypatch.setitem(EASY, "ecp5", easy)
        return Fitter(graph, ULX3S).styled(wide)[1].total

    most, some, least = (taken(dsp=share, lut=0.9) for share in (1.0, 0.5, 0.1))
    assert least.dsp < some.dsp <= 0.5 * have.dsp.count < most.dsp and most.lut < some.lut < least.lut
    assert taken(dsp=0.5, lut=0.0) == most
    limit = (most.lut + least.lut) / 2
    between = taken(dsp=0.1, lut=limit / have.lut)
    assert least.dsp < between.dsp < most.dsp and between.lut <= limit * 1.001


def test_a_board_and_a_target_or_a_budget(graph):
    both = solve(graph, HardwareConfig(board="ulx3s_85f", multipliers=60))
    assert both.multipliers <= 60 and both.board == "ulx3s_85f"
    assert solve(graph, HardwareConfig(board="ulx3s_85f", target_cycles=20000)).interval <= 20000
    assert solve(graph, HardwareConfig(multipliers=60), board=ULX3S) == both
    with pytest.raises(FoldingError, match=r"folding: tang_nano_20k: got \d+ LUT4 of 12441"):
        solve(graph, HardwareConfig(board="tang_nano_20k", target_cycles=1200))


def test_a_board_that_is_too_small_says_how_much(graph):
    with pytest.raises(FoldingError) as caught:
        solve(graph, HardwareConfig(board="icebreaker"))
    text = str(caught.value)
    assert "folding: icebreaker: got " in text and "LUT4 of 3379 (" in text and "SB_MAC16 of 8 (" in text
    assert "must be at most what may be planned with (64% of LUT, 64% of FF); take fewer bits" in text and "or a larger board: pynq_z2, " in text


def test_a_fitted_folding_is_saved_and_loaded(graph, tmp_path):
    folding = solve(graph, HardwareConfig(board="tang_nano_20k"))
    folding.save(tmp_path / "folding.json")
    assert Folding.load(tmp_path / "folding.json") == folding and json.loads((tmp_path / "folding.json").read_text())["board"] == "tang_nano_20k"


@pytest.mark.slow
def test_estimates_hold_operator_by_operator(tmp_path):
    """Every operator of one encoder: DSP and block RAM exact, the sum of LUT and FF within 15 %."""
    try:
        find("yosys")
    except SynthError as error:
        pytest.skip(str(error))
    small = random_encoder(12, layers=1, hidden=16, heads=2, intermediate=32, max_tokens=24, weight_bits=(4,), act_bits=(8,))
    build(small, HardwareConfig(multipliers=24), tmp_path)
    rows, guess, got = measure(tmp_path, cache_dir() / "synth-tests" / "operators", ULX3S), {"lut": 0.0, "ff": 0.0}, {"lut": 0, "ff": 0}
    assert len(rows) > 20
    for row in rows:
        params = {key: int(value) if isinstance(value, str) and value.isdigit() else value for key, value in row["params"].items()}
        cost = instance_cost(Instance(module=row["module"], params=params), ULX3S)
        assert (cost.dsp, cost.block_ram) == (row["dsp"], row["block_ram"].get("DP16KD", 0)), row
        for what in ("lut", "ff"):
            guess[what] += getattr(cost, what) * row["count"]
            got[what] += row[what] * row["count"]
    for what in ("lut", "ff"):
        assert guess[what] == pytest.approx(got[what], rel=0.15), what


@pytest.mark.slow
@pytest.mark.parametrize("board", ["ulx3s_85f", "tang_nano_20k"])
def test_an_encoder_is_synthesized_as_estimated(graph, tmp_path, board):
    folding = build(graph, HardwareConfig(board=board), tmp_path)
    report = synthesize(tmp_path, Board.load(board), cache_dir() / "synth-tests" / f"encoder-{board}", top="harness", place=False)
    costs = estimate(Design(graph, folding), Board.load(board)).total
    assert costs.dsp == report.resources["dsp"].used
    assert costs.lut == pytest.approx(report.resources["lut"].used, rel=0.15) and costs.ff == pytest.approx(report.resources["ff"].used, rel=0.15)
    assert costs.block_ram == report.resources[Board.load(board).resources.block_ram[0].kind].used
