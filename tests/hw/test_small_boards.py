# SPDX-License-Identifier: Apache-2.0
"""The smallest boards: what iCE40 makes of multipliers and memories, and a convolutional network on an iCEBreaker."""

import json

import pytest
from encoders import random_cnn
from yosys import run_yosys

from bitloom.hw.board import Board
from bitloom.hw.build import build
from bitloom.hw.cost.memories import Memory, map_memory
from bitloom.hw.cost.multipliers import dsps, whole
from bitloom.hw.cost.resources import COEFFICIENTS, estimate, instance_cost
from bitloom.hw.instance import Instance
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.fit import Fitter
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.hw.synth import SynthError, synthesize
from bitloom.hw.synth.calibrate import extend
from bitloom.hw.synth.flow import OWN_RTL
from bitloom.hw.synth.tools import find
from bitloom.hw.uart import BOARD_RTL
from bitloom.sim.runner import cache_dir

ICE, ULX3S = Board.load("icebreaker"), Board.load("ulx3s_85f")
TINY = dict(hidden=32, kernels=(3,), filters=16, max_tokens=64, bits=dict(weight_bits=(2,), act_bits=(6,)))


@pytest.mark.parametrize(("a", "b", "count"), [(16, 16, 1), (17, 16, 1), (18, 16, 2), (17, 18, 2), (18, 18, 3), (33, 17, 2), (10, 10, 1), (4, 5, 0)])
def test_a_product_is_cut_into_pieces_of_16_bits_of_which_small_ones_are_logic(a, b, count):
    assert dsps([whole(1, a, b)], "ice40up") == count


def test_memories_without_lut_ram():
    """A block is worth 64 LUTs there; what is smaller, or read without a register, lies in flip-flops."""
    assert map_memory(Memory("m", 4, 16), ICE).ff_bits == 64 and map_memory(Memory("m", 5, 16), ICE).blocks == 1
    assert map_memory(Memory("m", 16, 8, direct=True), ICE).ff_bits == 128 and map_memory(Memory("m", 16, 8), ICE).blocks == 1
    assert map_memory(Memory("m", 8, 128, rom=True), ICE).logic_bits == 1024 and map_memory(Memory("m", 8, 256, rom=True), ICE).blocks == 1
    assert map_memory(Memory("m", 26, 4, direct=True), ULX3S).lut_ram == 7


def test_flip_flops_that_are_a_memory_are_counted():
    made = Instance(module="fifo", params={"WIDTH": 7, "DEPTH": 8})
    assert instance_cost(made, ICE).block_ram == 0 and instance_cost(made, ICE).ff >= instance_cost(made, ULX3S).ff + 60


def test_a_convolution_of_16_filters_fits_an_icebreaker():
    graph = random_cnn(3, **TINY)
    folding = solve(graph, HardwareConfig(board="icebreaker"))
    used = Fitter(graph, ICE).used(estimate(Design(graph, folding), ICE))
    assert all(use.used <= use.available for use in used.values()) and used["dsp"].used == 8
    assert folding.bound_by and folding.interval <= 64 * 16 * 32


def test_what_was_measured_later_is_added():
    """A module's coefficients come from its rows; those of the others stay; one without a row is told."""
    known = json.loads(COEFFICIENTS.read_text())["lut4"]
    rows = [
        {"module": "concat", "params": {"A_BEATS": a, "B_BEATS": 2, "WIDTH": width}, "count": 1, "lut": 5 + 3 * width, "ff": 2 * width + 20}
        for a, width in ((2, 8), (4, 8), (16, 30), (64, 50))
    ]
    found = extend(rows, ULX3S, ["concat"], known)
    for what, one, bits in (("lut", 5, 3), ("ff", 20, 2)):
        assert found["concat"][what]["one"] == pytest.approx(one) and found["concat"][what]["out_bits"] == pytest.approx(bits)
    assert {name: value for name, value in found.items() if name != "concat"} == {name: value for name, value in known.items() if name != "concat"}
    with pytest.raises(SystemExit, match="calibrate: lstm: got no row, must be measured; known are concat"):
        extend(rows, ULX3S, ["lstm"], known)


@pytest.mark.slow
def test_the_register_behind_a_multiplier_is_the_same_with_an_enable(tmp_path):
    """The family's form against the library's, proved by induction."""
    for name, path in (("gold", BOARD_RTL.parent / "product_reg.sv"), ("gate", OWN_RTL / "ice40up" / "product_reg.sv")):
        (tmp_path / f"{name}.sv").write_text(path.read_text().replace("module product_reg", f"module {name}"))
    prove = "miter -equiv -flatten gold gate pair; hierarchy -top pair; sat -tempinduct -set-init-zero -prove trigger 0 -verify pair"
    done = run_yosys(tmp_path, "-p", f"read_verilog -sv gold.sv gate.sv; proc; {prove}")
    assert done.returncode == 0 and "SUCCESS" in done.stdout, (done.stdout + done.stderr)[-2000:]


@pytest.mark.slow
def test_it_is_synthesized_as_estimated(tmp_path):
    """With the bridge: multipliers exact, block RAM within those of its small FIFOs, cells within 20 %."""
    try:
        find("yosys")
    except SynthError as error:
        pytest.skip(str(error))
    graph = random_cnn(3, **TINY)
    folding = build(graph, HardwareConfig(board="icebreaker"), tmp_path)
    report = synthesize(tmp_path, ICE, cache_dir() / "synth-tests" / "cnn-icebreaker", place=False)
    used = Fitter(graph, ICE).used(estimate(Design(graph, folding), ICE))
    got = {name: use.used for name, use in report.resources.items()}
    assert got["dsp"] == used["dsp"].used and abs(got["SB_RAM40_4K"] - used["SB_RAM40_4K"].used) <= 2
    assert got["lut"] == pytest.approx(used["lut"].used, rel=0.2) and got["ff"] == pytest.approx(used["ff"].used, rel=0.2)
