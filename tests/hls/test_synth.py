# SPDX-License-Identifier: Apache-2.0
"""Synthesis without Vitis HLS: hls4ml's Tcl runs in a real Tcl interpreter against stand_in.tcl, which leaves reports in the tool's format."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from encoders import random_encoder, random_sentences

from bitloom.hls.errors import HlsError
from bitloom.hls.project import to_hls4ml, write_testbench
from bitloom.hls.synth import check_results, find_tool, options, synthesize
from bitloom.hw import golden
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.sim.errors import SimulationError

HERE = Path(__file__).parent
LENGTHS = [3, 8, 1]
# In an interpreter of its own: tkinter takes `exit` away from the first one.
TCL = (
    "import sys, tkinter; t = tkinter.Tcl(); t.eval('interp create c'); "
    "t.call('c', 'eval', ('set', 'argv', sys.argv[2])); t.call('c', 'eval', ('source', sys.argv[1]))"
)


@pytest.fixture(scope="module")
def encoder() -> Graph:
    return random_encoder(seed=3, layers=1, hidden=16, heads=2, intermediate=24, max_tokens=8, labels=2)


@pytest.fixture(scope="module")
def project(encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hls4ml") / "project"
    design = Design(encoder, solve(encoder, HardwareConfig(target_cycles=2000)))
    to_hls4ml(design, "pynq_z2", folder, clock_mhz=100).write()
    tensors = golden.run(encoder, *random_sentences(encoder, LENGTHS))
    write_testbench(folder, design, tensors, np.array(LENGTHS))
    return folder


def interpreter() -> str:
    """A command line that runs a Tcl file; skips where there is none."""
    if importlib.util.find_spec("_tkinter"):
        return f'"{sys.executable}" -c "{TCL}"'
    if shutil.which("tclsh"):
        return "tclsh"
    pytest.skip("no Tcl interpreter: neither tkinter nor tclsh; apt install tcl")


class StandIn:
    """An executable of the tool's name on PATH. `fault`: what goes wrong in stand_in.tcl."""

    def __init__(self, folder: Path, monkeypatch, name: str):
        folder.mkdir()
        self.arguments, self.calls = folder / "arguments", folder / "calls"
        program = folder / name
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" > "{self.arguments}"\n'
            f'for last; do :; done\n[ "$last" != hls ] || last=$4\nexec {interpreter()} "{HERE / "stand_in.tcl"}" "$last"\n'
        )
        program.chmod(0o755)
        self.setenv = monkeypatch.setenv
        for key, value in {"PATH": f"{folder}:/usr/bin:/bin", "STAND_IN_DATA": str(HERE / "data"), "STAND_IN_CALLS": str(self.calls)}.items():
            self.setenv(key, value)
        self.fault("none")

    def fault(self, name: str) -> None:
        self.setenv("STAND_IN_FAULT", name)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def tool(tmp_path, monkeypatch) -> StandIn:
    return StandIn(tmp_path / "bin", monkeypatch, "vitis-run")


def test_commands_of_the_script(project, tool, tmp_path):
    """What Vitis HLS is told, in order, when everything is asked for."""
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    synthesize(project, tmp_path / "out", cosim=True)
    assert tool.arguments.read_text().split() == ["--mode", "hls", "--tcl", "build_prj.tcl"]
    assert tool.called() == [
        "open_project -reset encoder_prj",
        "set_top encoder",
        "add_files firmware/encoder.cpp -cflags -std=c++0x",
        "add_files -tb encoder_test.cpp -cflags -std=c++0x",
        "add_files -tb firmware/weights",
        "add_files -tb tb_data",
        "open_solution -reset solution1",
        "config_array_partition -maximum_size 4096",
        "config_compile -name_max_length 80",
        "set_part xc7z020clg400-1",
        "config_schedule -enable_dsp_full_reg=false",
        "create_clock -period 10.0 -name default",
        "set_clock_uncertainty 12.5% default",
        "csim_design",
        "csynth_design",
        "add_files -tb encoder_test.cpp -cflags {-std=c++0x -DRTL_SIM}",
        "cosim_design -trace_level all -setup",
        "run_sim",
        "export_design -format ip_catalog -version 1.0.0",
    ]
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before, "the project itself was written to"


@pytest.mark.parametrize(("cosim", "export"), [(False, False), (False, True), (True, False)])
def test_only_what_was_asked_for(project, tool, tmp_path, cosim, export):
    report = synthesize(project, tmp_path / "out", cosim=cosim, export=export)
    steps = [call.split()[0] for call in tool.called() if "_design" in call]
    assert steps == ["csim_design"] * cosim + ["csynth_design"] + ["cosim_design"] * cosim + ["export_design"] * export
    assert (report.cosim is not None) == cosim and (report.ip is not None) == export and report.sentences == (len(LENGTHS) if cosim else 0)


def test_older_vitis(project, tmp_path, monkeypatch):
    tool = StandIn(tmp_path / "bin", monkeypatch, "vitis_hls")
    assert synthesize(project, tmp_path / "out").tool == "vitis_hls"
    assert tool.arguments.read_text().split() == ["-f", "build_prj.tcl"]
    (tmp_path / "bin" / "vitis-run").symlink_to(tmp_path / "bin" / "vitis_hls")
    assert Path(find_tool()[0]).name == "vitis-run"  # the newer command comes first


def test_report(project, tool, tmp_path):
    steps = []
    report = synthesize(project, tmp_path / "out", cosim=True, progress=lambda fraction, text: steps.append(text))
    assert (report.estimate.clock_target_ns, report.estimate.clock_estimated_ns) == (10.0, 7.416)
    assert (report.estimate.latency_min, report.estimate.latency_max, report.estimate.interval_min, report.estimate.interval_max) == (512, 4090, 258, 1986)
    assert report.estimate.resources == {"LUT": 28773, "FF": 20418, "DSP": 61, "BRAM_18K": 37, "URAM": 0}
    assert report.estimate.available == {"LUT": 53200, "FF": 106400, "DSP": 220, "BRAM_18K": 280, "URAM": 0}
    tensors = {m.tensor: (m.latency_max, m.interval_max, m.resources["DSP"]) for m in report.modules if m.tensor}
    assert tensors == {"layer.0.query.acc": (141, 129, 4), "layer.0.query": (134, 134, 2), "layer.0.context.acc": (None, None, 4)}
    assert [m.tensor for m in report.modules] == ["layer.0.query.acc", "layer.0.query", "layer.0.context.acc", None]
    assert (report.cosim.status, report.cosim.latency_max, report.cosim.interval_max) == ("Pass", 2237, None)
    assert steps == [
        "vitis-run: starting",
        "vitis-run: C SIMULATION",
        "vitis-run: C/RTL SYNTHESIS",
        "vitis-run: C/RTL SIMULATION",
        "vitis-run: EXPORT IP",
        "reading the reports",
    ]
    for path in (report.verilog, report.ip, report.log):
        assert (tmp_path / "out" / path).exists()
    assert json.loads(json.dumps(report.as_dict()))["estimate"]["part"] == "xc7z020-clg400-1"
    assert "config_array_partition: Unknown option" in (tmp_path / "out" / report.log).read_text()  # and yet no failure


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("compile", HlsError, r"exit code 1\), must end without an error: firmware/nnet_utils/linear.h:42:9: error: no matching function .*\(log: .*vitis.log"),
        ("part", HlsError, r"exit code [01]\), must end without an error: ERROR: \[HLS 200-1023\] Part 'xc7z020clg400-1' is not installed"),
        ("no_report", HlsError, r"csynth report: got no .*encoder_csynth.xml, must be written by csynth_design"),
        ("no_verilog", HlsError, r"got no .*encoder.v, must be written by csynth_design"),
        ("no_ip", HlsError, r"got no archive in .*impl, must be written by export_design"),
        ("no_csim", HlsError, r"got no .*csim_results.log, must be written by encoder_test.cpp"),
        ("cosim_status", HlsError, "cosim report: got status Fail, must be Pass"),
        ("wrong_csim", SimulationError, r"^csim_results.log: sentence 2 output 1: got 7, must be -?\d+$"),
        ("wrong_rtl_cosim", SimulationError, r"^rtl_cosim_results.log: sentence 2 output 1: got 7, must be -?\d+$"),
        ("short_rtl_cosim", SimulationError, r"^rtl_cosim_results.log: got outputs of 2 sentences, must be 3$"),
    ],
)
def test_every_failure_is_told(project, tool, tmp_path, fault, kind, message):
    tool.fault(fault)
    with pytest.raises(kind, match=message):
        synthesize(project, tmp_path / "out", cosim=True)


def test_tool_that_fails_in_silence(project, tool, tmp_path):
    (tmp_path / "bin" / "vitis-run").write_text("#!/bin/sh\necho license server not reachable\nexit 3\n")
    with pytest.raises(HlsError, match=r"exit code 3\), must end without an error: license server not reachable \(log: "):
        synthesize(project, tmp_path / "out")


def test_interrupt_ends_the_tool(project, tool, tmp_path):
    """The command is a script: what it started ends with it."""
    marker = tmp_path / "alive"
    (tmp_path / "bin" / "vitis-run").write_text(f'#!/bin/sh\n(sleep 2; touch "{marker}") &\necho "***** C/RTL SYNTHESIS *****"\nwait\n')

    def interrupt(fraction, text):
        if "C/RTL SYNTHESIS" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(project, tmp_path / "out", progress=interrupt)
    time.sleep(2.5)
    assert not marker.exists()


def test_no_tool(project, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HlsError, match=r"got neither vitis-run nor vitis_hls, one must be on PATH; install AMD Vitis .* RTL backend .* needs no vendor tool"):
        synthesize(project, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders(project, tool, tmp_path):
    with pytest.raises(HlsError, match=r"got no .*encoder.cpp, must be a whole project; write it with `bitloom build RUN --backend hls4ml`"):
        synthesize(tmp_path, tmp_path / "out")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    with pytest.raises(HlsError, match="with files in it, must be new or empty; give another folder"):
        synthesize(project, tmp_path / "used")


def test_cosim_needs_sentences(project, tool, tmp_path):
    copy = shutil.copytree(project, tmp_path / "project")
    (copy / "tb_data" / "tb_output_predictions.dat").write_text("0.25 1\n")
    with pytest.raises(HlsError, match="got '0.25', must be whole numbers"):
        synthesize(copy, tmp_path / "a", cosim=True)
    (copy / "tb_data" / "tb_output_predictions.dat").unlink()
    with pytest.raises(HlsError, match=r"got no sentences in .*tb_output_predictions.dat, must be some for co-simulation"):
        synthesize(copy, tmp_path / "b", cosim=True)
    assert not tool.arguments.exists(), "told before the tool runs for hours"


def test_test_bench_of_the_project(project, encoder, tmp_path):
    """encoder_test.cpp, compiled with the flags that the Tcl gives to Vitis HLS, gives the golden outputs in the file that is read after csim."""
    copy = shutil.copytree(project, tmp_path / "project")
    flags = set(re.findall(r'-cflags "(-std=\S+)"', (copy / "build_prj.tcl").read_text()))
    assert len(flags) == 1
    subprocess.run(
        ["g++", *flags, "-O0", "-Ifirmware/ap_types", '-DWEIGHTS_DIR="firmware/weights"', "encoder_test.cpp", "firmware/encoder.cpp", "-o", "bench"],
        cwd=copy,
        check=True,
        capture_output=True,
    )
    subprocess.run(["./bench"], cwd=copy, check=True, capture_output=True)
    want = golden.run(encoder, *random_sentences(encoder, LENGTHS))["logits"].tolist()
    check_results(copy / "tb_data" / "csim_results.log", want)
    want[1][0] ^= 1
    with pytest.raises(SimulationError, match="csim_results.log: sentence 1 output 0: got "):
        check_results(copy / "tb_data" / "csim_results.log", want)


def test_options_are_those_of_hls4ml(project):
    """build_opt.tcl has the same keys as the one that hls4ml wrote."""
    keys = [re.findall(r"^ +(\w+) +[01]$", text, flags=re.M) for text in ((project / "build_opt.tcl").read_text(), options(cosim=True, export=False))]
    assert keys[0] == keys[1] and len(keys[0]) == 8
