# SPDX-License-Identifier: Apache-2.0
"""Vivado projects without Vivado: their Tcl runs in a Tcl interpreter against stand_in.tcl, which checks calls and block design; reports in Vivado's format."""

import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from encoders import random_encoder
from vivado_stand_in import StandIn, project

from bitloom.hw.board import Board
from bitloom.hw.build import build
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.synth import DoesNotFit, SynthError
from bitloom.hw.vivado import build_project, collect, find_vivado, pack_overlay, write_project
from bitloom.hw.vivado.project import load_project, tcl_word


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    build(random_encoder(seed=5, layers=1, hidden=24, heads=2, intermediate=20, max_tokens=8, labels=3), HardwareConfig(multipliers=12), folder)
    return folder


@pytest.fixture
def tool(tmp_path, monkeypatch) -> StandIn:
    return StandIn(tmp_path / "tool", monkeypatch)


# --- what is written


def test_memories_are_found_by_their_bare_names(built, tmp_path):
    out, _ = project(built, "pynq_z2", tmp_path)
    names = set(re.findall(r'"([^"]+\.mem)"', (out / "src" / "encoder.sv").read_text()))
    assert names == {path.name for path in (out / "mem").iterdir()} and len(names) == len(list(built.glob("*.hex"))) > 5
    for path in built.glob("*.hex"):
        assert (out / "mem" / f"{path.stem}.mem").read_bytes() == path.read_bytes()
    restored = (out / "src" / "encoder.sv").read_text().replace('.mem"', '.hex"')
    assert restored == (built / "encoder.sv").read_text()


def test_project_says_what_it_is(built, tmp_path):
    out, _ = project(built, "zcu104", tmp_path, clock_mhz=150)
    said = load_project(out)
    assert (said["flow"], said["clock_mhz"], said["part"]) == ("mpsoc", 150, "xczu7ev-ffvc1156-2-e")
    assert said["ip"]["identity"] in (built / "encoder.sv").read_text()
    assert {path.name for path in out.iterdir()} == {"build.tcl", "settings.tcl", "project.json", "src", "mem", "tcl", "constraints"}
    assert str(tmp_path) not in "".join(path.read_text() for path in out.rglob("*.tcl")), "the folder must work anywhere"


@pytest.mark.parametrize(
    ("board", "flow"),
    [
        ("pynq_z2", "zynq"),
        ("zcu104", "mpsoc"),
        ("zcu102", "mpsoc"),
        ("kv260", "mpsoc"),
        ("arty_a7_100t", "uart"),
        ("alveo_u250", "out_of_context"),
        ("vck190", "out_of_context"),
    ],
)
def test_every_board_builds(built, tool, tmp_path, board, flow):
    """The whole script, every call checked; block designs are validated by the stand-in."""
    folder, board = project(built, board, tmp_path)
    for name, sites in (("URAM288", 0),):  # boards with UltraRAM have a row for it
        if any(ram.kind == name for ram in board.resources.block_ram):
            tool.report(
                "utilization", "| Block RAM Tile    |", f"| URAM              |    {sites} |     0 |          0 |        96 |  0.00 |\n| Block RAM Tile    |"
            )
    steps = []
    report = build_project(folder, board, jobs=3, progress=steps.append)
    assert (report.top, report.placed, report.tools) == (flow, True, {"vivado": "2023.1"})
    assert report.resources["lut"].used == 21034 and report.resources["RAMB18"].used == 115 and report.resources["dsp"].used == 104
    assert report.fmax_mhz == 105.08 and report.timing_met
    assert (report.bitstream is None) == (flow == "out_of_context") and ("hwh" in report.files) == (flow in ("zynq", "mpsoc"))
    assert steps[0] == "vivado" and len(steps) > 1
    assert tool.calls("set_msg_config") == ["set_msg_config -id {Synth 8-4445} -new_severity ERROR"]
    json.dumps(report.as_dict())


def test_block_design_of_zynq(built, tool, tmp_path):
    """What Vivado is told, in order, about what matters."""
    folder, board = project(built, "pynq_z2", tmp_path, clock_mhz=80)
    build_project(folder, board)
    assert tool.calls("create_project") == [
        "create_project package_encoder ip_project -part xc7z020clg400-1 -force",
        "create_project encoder vivado -part xc7z020clg400-1 -force",
    ]
    assert [call.split()[-1] for call in tool.calls("create_bd_cell")] == ["ps", "encoder_0", "axi_dma_0", "registers_bus", "memory_bus", "resets"]
    assert "-vlnv xilinx.com:ip:processing_system7:5.10 ps" in tool.calls("create_bd_cell")[0], "the newest, not the last by alphabet"
    assert "set_property board_part tul.com.tw:pynq-z2:part0:1.0 project" in tool.calls("set_property")
    assert any("CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ 80" in call for call in tool.calls("set_property"))
    assert tool.calls("connect_bd_intf_net") == [
        "connect_bd_intf_net ps/M_AXI_GP0 registers_bus/S00_AXI",
        "connect_bd_intf_net registers_bus/M00_AXI encoder_0/s_axi",
        "connect_bd_intf_net registers_bus/M01_AXI axi_dma_0/S_AXI_LITE",
        "connect_bd_intf_net axi_dma_0/M_AXI_MM2S memory_bus/S00_AXI",
        "connect_bd_intf_net axi_dma_0/M_AXI_S2MM memory_bus/S01_AXI",
        "connect_bd_intf_net memory_bus/M00_AXI ps/S_AXI_HP0",
        "connect_bd_intf_net axi_dma_0/M_AXIS_MM2S encoder_0/s_axis",
        "connect_bd_intf_net encoder_0/m_axis axi_dma_0/S_AXIS_S2MM",
    ]
    assert tool.calls("launch_runs") == ["launch_runs synth_1 -jobs 2", "launch_runs impl_1 -jobs 2 -to_step write_bitstream"]


def test_without_board_files(built, tool, tmp_path):
    tool.setenv("STAND_IN_BOARDS", "")
    folder, board = project(built, "pynq_z2", tmp_path)
    build_project(folder, board)
    assert not any("board_part" in call for call in tool.calls("set_property"))
    assert "apply_board_preset 0" in tool.calls("apply_bd_automation")[0]


def test_clock_of_the_ip_alone(built, tool, tmp_path):
    folder, board = project(built, "vck190", tmp_path, clock_mhz=300)
    tool.report("utilization", "| Block RAM Tile    |", "| URAM              |    0 |     0 |          0 |       463 |  0.00 |\n| Block RAM Tile    |")
    build_project(folder, board)
    assert tool.calls("create_clock") == ["create_clock -name aclk -period 3.333 aclk"]
    assert tool.calls("synth_design") == ["synth_design -top encoder_ip -part xcvc1902-vsva2197-2MP-e-S -mode out_of_context"]


def test_pins_of_a_uart_board(built, tool, tmp_path):
    folder, board = project(built, "arty_a7_100t", tmp_path)
    build_project(folder, board)
    assert [call for call in tool.calls("set_property") if "PACKAGE_PIN" in call] == [
        "set_property PACKAGE_PIN E3 clk_in",
        "set_property PACKAGE_PIN A9 uart_rx",
        "set_property PACKAGE_PIN D10 uart_tx",
        "set_property PACKAGE_PIN C2 reset",
        "set_property PACKAGE_PIN H5 led",
    ]
    assert tool.calls("create_clock") == ["create_clock -name clk_in -period 10.000 clk_in"]
    assert "package encoder_shape;" in (folder / "src" / "encoder_shape.sv").read_text()
    with pytest.raises(SynthError, match="clock_mhz: got 50, must be the board's own 100"):
        project(built, "arty_a7_100t", tmp_path / "slow", clock_mhz=50)


# --- the stand-in can fail


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("tcl/block_design.tcl", "axi_dma_0/axi_resetn}", "}", "nothing drives axi_dma_0/axi_resetn"),
        ("tcl/block_design.tcl", "memory_bus/M00_AXI ps/$memory", "memory_bus/M01_AXI ps/$memory", "smartconnect has no intf pin M01_AXI"),
        ("tcl/block_design.tcl", "encoder_0/m_axis axi_dma_0/S_AXIS_S2MM", "", "nothing at "),
        ("tcl/block_design.tcl", "CONFIG.c_include_sg", "CONFIG.c_inclued_sg", "axi_dma has no property CONFIG.c_inclued_sg"),
        ("tcl/block_design.tcl", "lsort -dictionary", "lsort", "processing_system7:5.5 is not the newest"),
        ("tcl/runs.tcl", "-jobs $jobs", "-job $jobs", "launch_runs: no option -job"),
        ("tcl/sources.tcl", "*.mem", "*.hex", "could not open $readmem data file"),
        ("src/encoder_ip.v", "m_axis_tvalid", "m_axis_valid", "package_ip: got no interface 'm_axis'"),
        ("src/encoder_ip.v", "[31:0] s_axis_tdata", "[63:0] s_axis_tdata", "the encoder's s_axis has not 32 bits"),
    ],
)
def test_broken_scripts_are_found(built, tool, tmp_path, file, old, new, message):
    folder, board = project(built, "pynq_z2", tmp_path)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    with pytest.raises(SynthError, match=re.escape(message)):
        build_project(folder, board)


# --- what can go wrong


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "licence",
            r"got a failure \(exit code 1\), must end without an error: ERROR: \[Common 17-345\] A valid license was not found .*; log in .*vivado.log",
        ),
        ("killed", r"got a failure \(exit code 0\), must end without an error: .*stand-in"),
        ("synth_1", r"ERROR: \[Synth 8-439\] module 'encoder' not found"),
        ("memory", r"ERROR: \[Synth 8-4445\] could not open \$readmem data file"),
        ("integrity", "the IP packager found the core in ip/ not whole"),
        ("catalogue", "got no IP xilinx.com:ip:processing_system7 in Vivado's catalogue, must be installed"),
        ("no_bit", r"got no vivado/encoder.runs/impl_1/\*.bit, must be written by Vivado"),
        ("no_hwh", r"got no .*system.hwh, must be written by Vivado"),
        ("no_timing", r"vivado: got no .*reports/timing.rpt, must be written by build.tcl"),
    ],
)
def test_failures(built, tool, tmp_path, fault, message):
    tool.fault(fault)
    folder, board = project(built, "pynq_z2", tmp_path)
    with pytest.raises(SynthError, match=message):
        build_project(folder, board)


def test_results_of_an_earlier_run_do_not_count(built, tool, tmp_path):
    folder, board = project(built, "pynq_z2", tmp_path)
    build_project(folder, board)
    tool.fault("no_timing")
    with pytest.raises(SynthError, match=r"got no .*timing.rpt"):
        build_project(folder, board)


def test_does_not_fit(built, tool, tmp_path):
    tool.report("utilization", "| DSPs           |  104 |", "| DSPs           |  321 |")
    folder, board = project(built, "pynq_z2", tmp_path)
    with pytest.raises(DoesNotFit, match=r"pynq_z2: got 321 DSP48E1 of 220 \(1.5 times\), must be at most what the board has; .*larger board: "):
        build_project(folder, board)


def test_timing_not_met_is_told(built, tool, tmp_path):
    tool.report("timing", "      0.483        0.000 ", "     -1.250      -99.000 ")
    folder, board = project(built, "pynq_z2", tmp_path)
    report = build_project(folder, board)
    assert (report.timing_met, report.fmax_mhz) == (False, 88.89)


def test_interrupt_ends_vivado(built, tool, tmp_path, monkeypatch):
    """What `vivado`, a script, has started goes with it."""
    tool.fault("hang")
    folder, board = project(built, "pynq_z2", tmp_path)

    def stop(step: str) -> None:
        deadline = time.monotonic() + 20
        while not (folder / "hung").is_file() and time.monotonic() < deadline:
            time.sleep(0.02)
        raise KeyboardInterrupt

    from bitloom.hw.vivado import runner

    monkeypatch.setattr(runner, "STEP", re.compile(r"^(\*{6})"))
    with pytest.raises(KeyboardInterrupt):
        build_project(folder, board, progress=lambda step: stop(step) if step != "vivado" else None)
    pid = int((folder / "hung").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


def test_no_vivado(built, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SynthError, match=r"vivado: got no command 'vivado', must be on PATH; install AMD Vivado .* or run `vivado -mode batch -source build.tcl`"
    ):
        find_vivado()


def test_another_boards_project(built, tmp_path):
    folder, _ = project(built, "pynq_z2", tmp_path)
    with pytest.raises(SynthError, match=r"got a project for pynq_z2 \(xc7z020clg400-1\), must be for zcu104"):
        build_project(folder, Board.load("zcu104"))


@pytest.mark.parametrize(
    ("board", "options", "message"),
    [
        ("ulx3s_85f", {}, "ulx3s_85f: got a board of the flow open_ecp5, must be one that Vivado takes"),
        ("pynq_z2", {"clock_mhz": 0.5}, "clock_mhz: got 0.5, must be 1 .. 1000"),
    ],
)
def test_bad_arguments(built, tmp_path, board, options, message):
    with pytest.raises(SynthError, match=message):
        project(built, board, tmp_path, **options)


def test_bad_folders(built, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    board = Board.load("pynq_z2")
    with pytest.raises(SynthError, match="used with files in it, must be new or empty"):
        write_project(built, board, tmp_path / "used")
    with pytest.raises(SynthError, match=r"got no whole build .*; run `bitloom build` first"):
        write_project(tmp_path / "used", board, tmp_path / "new")
    with pytest.raises(SynthError, match=r"project.json: got no readable project"):
        build_project(tmp_path / "used", board)
    copy = shutil.copytree(built, tmp_path / "copy")
    next(copy.glob("*.hex")).unlink()
    with pytest.raises(SynthError, match=r"got no file \"[^\"]*.hex\", must be there for encoder.sv"):
        write_project(copy, board, tmp_path / "new")


def test_words_of_tcl():
    assert [tcl_word(value) for value in ("xc7z020", 100.0, 12.5, 64)] == ["{xc7z020}", "{100}", "{12.5}", "{64}"]
    for bad in ("a}; exit; {", "a\\", "a\nb"):
        with pytest.raises(SynthError, match="must be without braces"):
            tcl_word(bad)


# --- the folder for the board


def test_overlay(built, tool, tmp_path):
    folder, board = project(built, "pynq_z2", tmp_path)
    with pytest.raises(SynthError, match=r"got no .*encoder.bit, must be built; run `vivado"):
        pack_overlay(folder, tmp_path / "board")
    build_project(folder, board)
    out = pack_overlay(folder, tmp_path / "board")
    manifest = json.loads((out / "overlay" / "overlay.json").read_text())
    for name in ("bit", "hwh"):
        assert hashlib.sha256((out / "overlay" / manifest[name]["file"]).read_bytes()).hexdigest() == manifest[name]["sha256"]
    assert manifest["identity"] == load_project(folder)["ip"]["identity"] and manifest["input"]["beat_bytes"] == 4
    assert (out / "pynq_driver" / "__main__.py").is_file()
    assert collect(folder, board).bitstream.read_bytes() == (out / "overlay" / "encoder.bit").read_bytes()
    assert not os.path.exists(out / "pynq_driver" / "__pycache__")
    with pytest.raises(SynthError, match="must be new or empty"):
        pack_overlay(folder, out)
    alone, _ = project(built, "vck190", tmp_path / "alone")
    with pytest.raises(SynthError, match="got the flow out_of_context, must be zynq or mpsoc"):
        pack_overlay(alone, tmp_path / "none")
