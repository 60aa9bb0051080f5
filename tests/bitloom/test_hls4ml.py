# SPDX-License-Identifier: Apache-2.0
"""The hls4ml backend through the command line, on a run of the smallest recipe."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hls_verilog import write_verilog

from bitloom import Recipe, RunFolder, flow
from bitloom.cli import main
from bitloom.hw import golden, graph_file
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "tests" / "hls"
TINY = ROOT / "tests" / "tiny.yaml"
BUILD = ("--backend", "hls4ml", "--board", "pynq_z2")


@pytest.fixture(scope="module")
def hls_run(tiny_run, tmp_path_factory) -> Path:
    """The tiny run with an HLS project, verified; do not change it."""
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("hls") / "tiny"))
    for argv in (["build", str(run), *BUILD], ["verify", str(run), "--backend", "hls4ml"]):
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert not end.value.code
    return run


@pytest.fixture
def hls_copy(hls_run, tmp_path) -> Path:
    return Path(shutil.copytree(hls_run, tmp_path / "tiny"))


def test_every_tensor_of_real_sentences_is_compared(hls_run):
    found = json.loads((hls_run / "hls4ml" / "verify" / "verify.json").read_text())
    graph = graph_file.load(hls_run / "export")
    assert set(found["tensors"]) == {n.name for n in graph.nodes if n.op != "embed"} | {"m_axis"}
    assert min(found["tensors"].values()) > 0 and found["mismatches"] == 0
    assert found["values_compared"] == sum(r["values_compared"] for r in found["runs"]) > 100_000
    assert found["accuracy"]["value"] == found["accuracy"]["golden"]


def test_the_project_is_for_the_boards_part_and_the_recipes_clock(hls_run):
    tcl = (hls_run / "hls4ml" / "build" / "project.tcl").read_text()
    assert 'set part "xc7z020clg400-1"' in tcl and "set clock_period 10.0" in tcl
    config = (hls_run / "hls4ml" / "build" / "hls4ml_config.yml").read_text()
    assert "build.tmp" not in config


def test_the_report_has_the_projects_layers(hls_run):
    report = json.loads((hls_run / "report.json").read_text())
    h = report["backends"]["hls4ml"]
    assert (h["board"], h["part"], h["csynth"], h["rtl"]) == ("pynq_z2", "xc7z020clg400-1", None, None)
    by_name = {layer["name"]: layer for layer in h["layers"]}
    for stage in report["hardware"]["stages"]:  # the same folding as the RTL's
        assert by_name[stage["name"]]["multipliers"] == stage["multipliers"]
    query = by_name["layer.0.query.acc"]
    weights = graph_file.load(hls_run / "export").params["layer.0.query.acc.weight"].size
    assert query["reuse_factor"] == weights // query["multipliers"]
    assert any(c["name"].startswith("HLS C simulation") for c in report["verify"]["comparisons"])
    assert "HLS project (hls4ml)" in (hls_run / "report.html").read_text()


@pytest.mark.slow
def test_early_exits_end_the_turns(tmp_path):
    """A trained encoder with one layer in hardware and off-ramps: what a sentence left is not computed, and the report has how many turns that are."""
    run = tmp_path / "early"
    settings = ["model.layers=3", "hardware.layers=1", "compression=[{method: early_exit, rule: patience, patience: 2}]"]
    for argv in (
        ["run", str(TINY), "--out", str(run), *(part for setting in settings for part in ("--set", setting))],
        ["build", str(run), *BUILD],
        ["verify", str(run), "--backend", "hls4ml"],
    ):
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert not end.value.code
    found = json.loads((run / "hls4ml" / "verify" / "verify.json").read_text())
    assert found["mismatches"] == 0 and found["accuracy"]["value"] == found["accuracy"]["golden"] and 2 <= found["turns"] <= 3
    assert set(found["tensors"]) == {n.name for n in graph_file.load(run / "export").nodes if n.op not in ("embed", "off_ramps")} | {"m_axis"}
    (row,) = (row for row in json.loads((run / "report.json").read_text())["side_by_side"] if row["backend"] == "hls4ml")
    assert row["cycles_are"] == "analytic, a sentence alone in all turns"


@pytest.mark.slow
def test_the_projects_own_test_bench_gives_the_golden_logits(hls_run, tmp_path):
    """What csim_design of Vitis HLS would run, with C++11 as build_prj.tcl says."""
    project = Path(shutil.copytree(hls_run / "hls4ml" / "build", tmp_path / "project"))
    command = ["g++", "-std=c++11", "-Ifirmware/ap_types", '-DWEIGHTS_DIR="firmware/weights"', "encoder_test.cpp", "firmware/encoder.cpp", "-o", "bench"]
    subprocess.run(command, cwd=project, check=True)
    subprocess.run(["./bench"], cwd=project, check=True, capture_output=True)
    got = np.loadtxt(project / "tb_data" / "csim_results.log")
    want = np.loadtxt(project / "tb_data" / "tb_output_predictions.dat")
    assert got.size and np.array_equal(got, want)


STUDENTS = {
    "bilstm": "{network: bilstm, hidden: 12, units: 8, classifier: 8, max_tokens: 24}",
    "cnn": "{network: cnn, hidden: 12, kernels: [2, 3], filters: 6, max_tokens: 24}",
    "hybrid": "{network: hybrid, hidden: 12, dilations: [1, 2], layers: 1, heads: 2, intermediate: 24, max_tokens: 24, pooling: mean}",
}


@pytest.mark.slow
@pytest.mark.parametrize("network", STUDENTS)
def test_students_that_are_no_transformers(network, tmp_path, bitloom):
    """From the recipe to the compared C++."""
    recipe, run = Recipe.load(TINY, [f"model={STUDENTS[network]}"]), RunFolder.create(tmp_path / network, Recipe.load(TINY))
    with run.locked(), warnings.catch_warnings(action="ignore"):
        run.adopt(recipe, data_dir=None)
        for stage in ("train", "export", "build"):
            flow.run_stage(run, stage)
    for argv in (("build", run.path, *BUILD), ("verify", run.path, "--backend", "hls4ml")):
        code, out, err = bitloom(*argv)
        assert code == 0, err
    assert "0 of " in out
    found = json.loads((run.path / "hls4ml" / "verify" / "verify.json").read_text())
    assert found["mismatches"] == 0 and found["values_compared"] > 10_000


def test_stages_of_the_backend_are_skipped_when_nothing_changed(hls_copy, bitloom):
    for argv in (("build", hls_copy, "--backend", "hls4ml"), ("verify", hls_copy, "--backend", "hls4ml")):
        code, out, _ = bitloom(*argv)
        assert code == 0 and "unchanged" in out


def test_another_board_makes_another_project_and_the_old_verification_stale(hls_copy, bitloom):
    assert bitloom("build", hls_copy, "--backend", "hls4ml", "--board", "zcu104")[0] == 0
    assert "xczu7ev" in (hls_copy / "hls4ml" / "build" / "project.tcl").read_text()
    report = json.loads((hls_copy / "report.json").read_text())
    assert report["backends"]["hls4ml"]["csim"] is None


@pytest.mark.slow
def test_a_planted_fault_in_a_header_fails_and_names_the_first_tensor(hls_copy, bitloom):
    header = hls_copy / "hls4ml" / "build" / "firmware" / "nnet_utils" / "softmax.h"
    text = header.read_text()
    assert text.count("if (starts || x.data[l] > high[l])") == 1
    header.write_text(text.replace("if (starts || x.data[l] > high[l])", "if (starts || x.data[l] > high[l] + 1)"))
    run = RunFolder.open(hls_copy)
    record = run.record("hls4ml/build")
    run.mark("hls4ml/build", record | {"files": run.digest("hls4ml/build")})  # else the project counts as damaged
    for _ in range(2):  # it must not count as done after the first time
        code, _, err = bitloom("verify", hls_copy, "--backend", "hls4ml")
        assert code == 1 and err.count("\n") == 1
        where = r"first at layer\.0\.probs: sentence \d+ token \d+ channel \d+: got \d+, must be \d+"
        assert re.search(r"bitloom: verify: development sentences: \d+ values compared, [1-9]\d* mismatches; " + where, err), err


def test_a_compile_error_names_its_first_line_and_the_log(hls_copy, bitloom):
    header = hls_copy / "hls4ml" / "build" / "firmware" / "nnet_utils" / "table.h"
    header.write_text(header.read_text().replace("out_T y;", "out_T y", 1))
    code, _, err = bitloom("verify", hls_copy, "--backend", "hls4ml")
    assert code == 2
    assert re.match(r"bitloom: C simulation: got a compile error, must compile; \S*table\.h:\d+:\d+: error: .* \(log: (.*build\.log)\)\n", err), err
    assert Path(re.search(r"\(log: (.*)\)", err)[1]).is_file()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ("build", "--backend", "hls4ml"),
            "hls4ml/build: got no board, must be given once; `bitloom build {run} --backend hls4ml --board NAME` (`bitloom boards` lists them)",
        ),
        (("build", "--backend", "hls4ml", "--board", "pynqz2"), "board: no board 'pynqz2'; did you mean 'pynq_z2'?"),
        (
            ("build", "--backend", "hls4ml", "--board", "ulx3s_85f"),
            "hls4ml: got board 'ulx3s_85f' with LFE5U-85F-6BG381C of family ecp5, must be one of AMD's that Vitis HLS takes",
        ),
        (("verify", "--backend", "hls4ml"), "verify.hls4ml"),
        (("verify", "--backend", "hls4ml", "--waves"), "verify: got --waves with --backend hls4ml"),
        (("verify", "--rtl"), "verify: got --rtl with --backend rtl, must be with hls4ml"),
        (("synth", "--ip"), "synth: got --ip with --backend rtl, must be with hls4ml; leave it out"),
        (("synth", "--backend", "hls4ml", "--clock", "80"), "synth: got --clock with --backend hls4ml, must be with rtl; leave it out"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(tiny_copy, bitloom, argv, expected):
    code, _, err = bitloom(argv[0], tiny_copy, *argv[1:])
    if expected == "verify.hls4ml":
        expected = "hls4ml/verify: got {run} without a finished 'hls4ml/build', must come after it; run `bitloom build {run} --backend hls4ml`"
    assert code == 2 and err.startswith("bitloom: " + expected.format(run=tiny_copy)) and err.count("\n") == 1


def test_without_a_compiler(hls_copy, bitloom, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    code, _, err = bitloom("verify", hls_copy, "--backend", "hls4ml", "--force")
    assert (code, err) == (2, "bitloom: C simulation: got no g++, must be on PATH; apt install g++\n")


def test_a_compiler_that_is_too_old(hls_copy, bitloom, monkeypatch, tmp_path):
    old = tmp_path / "bin" / "g++"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 4.8.5\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent))
    code, _, err = bitloom("verify", hls_copy, "--backend", "hls4ml", "--force")
    assert (code, err) == (2, "bitloom: C simulation: got g++ 4.8.5, must be 9 or newer; install one and put it first on PATH\n")


@pytest.mark.slow
def test_the_example_script(hls_run, tmp_path):
    """examples/hls_project.py: its predictions are the golden model's."""
    command = [sys.executable, str(ROOT / "examples" / "hls_project.py"), str(hls_run), str(tmp_path / "project")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, check=False)
    assert done.returncode == 0, done.stderr
    graph = graph_file.load(hls_run / "export")
    part = graph_file.extract(graph, graph.entry, graph.outputs[0])
    entry, rng = graph.tensor(graph.entry), np.random.default_rng(0)
    sentences = [rng.integers(entry.low, entry.high + 1, (n, entry.channels)) for n in (3, graph.max_tokens)]
    want = golden.evaluate(part, {part.entry: np.concatenate(sentences)}, np.array([len(s) for s in sentences]))[graph.outputs[0]]
    got = [float(x) for x in re.findall(r"-?\d+\.", done.stdout)]
    assert got == want.ravel().tolist()


@pytest.fixture
def vitis(tmp_path, monkeypatch):
    """A stand-in for Vitis HLS on PATH: hls4ml's Tcl runs against tests/hls/stand_in.tcl, which leaves reports in the tool's format."""
    if shutil.which("tclsh") is None:
        pytest.skip("no tclsh; apt install tcl")
    program = tmp_path / "bin" / "vitis-run"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec tclsh "{STAND_IN}/stand_in.tcl" build_prj.tcl\n')
    program.chmod(0o755)
    for key, value in {
        "PATH": f"{program.parent}:/usr/bin:/bin",
        "STAND_IN_DATA": STAND_IN / "data",
        "STAND_IN_CALLS": tmp_path / "calls",
        "STAND_IN_FAULT": "none",
    }.items():
        monkeypatch.setenv(key, str(value))
    return tmp_path / "calls"


def test_synth_runs_the_tool_and_its_figures_reach_the_report(hls_copy, bitloom, vitis):
    code, out, err = bitloom("synth", hls_copy, "--backend", "hls4ml", "--no-ip")
    assert code == 0, err
    assert "csynth_design" in vitis.read_text() and "export_design" not in vitis.read_text()
    report = json.loads((hls_copy / "report.json").read_text())["backends"]["hls4ml"]
    assert report["csynth"]["tool"] == "vitis-run" and report["csynth"]["ip"] is None
    assert report["csynth"]["estimate"]["resources"]
    assert "cycles, csynth" in (hls_copy / "report.html").read_text()
    assert "unchanged" in bitloom("synth", hls_copy, "--backend", "hls4ml")[1]  # options are kept


def test_synth_without_the_tool(hls_copy, bitloom):
    code, _, err = bitloom("synth", hls_copy, "--backend", "hls4ml")
    assert code == 2 and err.startswith("bitloom: synth: got neither vitis-run nor vitis_hls, one must be on PATH;")


@pytest.mark.parametrize(("fault", "expected"), [("value", 1), pytest.param("none", 0, marks=pytest.mark.slow)])  # tests/hls/test_rtl.py has more of both
def test_the_tools_verilog_is_simulated_and_a_wrong_output_is_named(hls_copy, bitloom, vitis, fault, expected):
    """What stands in for the tool's Verilog is an encoder of the RTL backend with the ports that Vitis HLS makes."""
    assert bitloom("synth", hls_copy, "--backend", "hls4ml", "--no-ip")[0] == 0
    run, graph = RunFolder.open(hls_copy), graph_file.load(hls_copy / "export")
    folding = Folding.load(hls_copy / "build" / "folding.json")
    synth = hls_copy / "hls4ml" / "synth"
    verilog = synth / json.loads((synth / "synth.json").read_text())["verilog"]
    shutil.rmtree(verilog)
    write_verilog(Design(graph, folding), hls_copy / "build", verilog, fault=fault)
    run.mark("hls4ml/synth", run.record("hls4ml/synth") | {"files": run.digest("hls4ml/synth")})
    code, out, err = bitloom("verify", hls_copy, "--backend", "hls4ml", "--rtl")
    assert code == expected, err
    if expected:
        assert re.search(r"bitloom: verify: back to back: \d+ values compared, 1 mismatches; first at m_axis: sentence 0", err), err
