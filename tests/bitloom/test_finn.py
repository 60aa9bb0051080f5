# SPDX-License-Identifier: Apache-2.0
"""The FINN backend through the command line, on a run of the smallest recipe."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from csim_cases import cases
from onnx import numpy_helper

from bitloom import RunFolder
from bitloom.cli import main
from bitloom.flow import Context
from bitloom.hls.finn import tool
from bitloom.hw import graph_file
from bitloom.hw.plan.folding import Folding

needs_finn = pytest.mark.skipif(tool.installed() != tool.VERSION, reason=f"no finn-plus {tool.VERSION}; {tool.INSTALL}")
BUILD = ("--backend", "finn", "--board", "kv260")


@pytest.fixture(scope="module")
def finn_run(tiny_run, tmp_path_factory) -> Path:
    """The tiny run through FINN, compared; do not change it."""
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("finn") / "tiny"))
    for argv in (["build", str(run), *BUILD, "--tokens", "8"], ["verify", str(run), "--backend", "finn"]):
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert not end.value.code
    return run


@needs_finn
def test_every_node_is_mapped_and_has_code(finn_run):
    made = json.loads((finn_run / "finn" / "build" / "finn.json").read_text())
    assert (made["tokens"], made["part"]) == (8, "xck26-sfvc784-2LV-c") and made["vivado_steps"] == []
    graph = graph_file.load(finn_run / "export")
    units = {n.name for n in graph.nodes if n.op in ("linear", "scores", "context")}
    assert {row["tensor"] for row in made["units"]} == units
    folds = Folding.load(finn_run / "build" / "folding.json").folds
    same = [row for row in made["units"] if (row["pe"], row["simd"]) == (folds[row["tensor"]].pe, folds[row["tensor"]].simd)]
    assert same and all(row["finn"] == row["rtl"] for row in same)
    filled = [row for row in made["units"] if row not in same]  # bitloom's streams are filled up there, FINN's cannot be
    assert filled and all(row["finn"] <= row["rtl"] for row in filled)
    assert set(made["unknown"]) == {n["name"] for n in made["nodes"] if not (n["lut"] or n["dsp"] or n["bram_18k"] or n["uram"])}


@needs_finn
def test_integer_nodes_equal_the_golden_and_float_ones_are_counted(finn_run):
    found = json.loads((finn_run / "finn" / "verify" / "verify.json").read_text())
    built, frequent, quant = found["runs"]
    for run in (built, frequent):
        assert run["mismatches"] == 0 and run["values_compared"] > 5_000
        assert {t["op"] for t in run["tensors"] if not t["exact"]} == {"softmax", "layernorm"}
    assert frequent["sentences"] == found["sentences"] == found["accuracy"]["examples"]
    assert quant["values_compared"] == 0 and quant["sentences"] == frequent["sentences"]


@needs_finn
def test_the_report_has_the_backends_side_by_side(finn_run):
    report = json.loads((finn_run / "report.json").read_text())
    rtl, finn = report["side_by_side"]
    assert (rtl["backend"], rtl["cycles_are"], finn["backend"], finn["cycles_are"]) == ("RTL", "measured in simulation", "FINN", "FINN's estimate")
    made = json.loads((finn_run / "finn" / "build" / "finn.json").read_text())
    assert (
        finn["multipliers"] == sum(row["pe"] * row["simd"] for row in made["units"])
        and "nodes have none" in finn["memory"]
        and "of float32 nodes" in finn["exact"]
    )
    page = (finn_run / "report.html").read_text()
    assert "Backends side by side" in page and "nodes have no estimate" in page and "Vivado has not run." in page


@needs_finn
def test_a_wrong_threshold_fails_and_names_the_tensor(finn_run, bitloom, tmp_path):
    run = Path(shutil.copytree(finn_run, tmp_path / "tiny"))
    path = run / "finn" / "build" / "hardware.onnx"
    model = onnx.load(path)
    node = next(n for n in model.graph.node if n.output[0] == "layer.0.query")
    table = next(t for t in model.graph.initializer if t.name == node.input[1])
    values = numpy_helper.to_array(table).copy()
    values += np.diff(values, axis=1).max()  # codes one too small
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    onnx.save(model, path)
    opened = RunFolder.open(run)
    opened.mark("finn/build", opened.record("finn/build") | {"files": opened.digest("finn/build")})
    code, _, err = bitloom("verify", run, "--backend", "finn")
    assert code == 1 and err.startswith("bitloom: verify: built length: layer.0.query: ") and err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ("build", "--backend", "finn"),
            "finn/build: got no board, must be given once; `bitloom build {run} --backend finn --board NAME` (`bitloom boards` lists them)",
        ),
        (("build", *BUILD, "--tokens", "0"), "finn/build: got --tokens 0, must be 1 .. 24 (the graph's max_tokens); choose a length within"),
        (("build", "--tokens", "8"), "build: got --tokens with --backend rtl, must be with finn; leave it out"),
        (("build", "--backend", "finn", "--board", "ulx3s_85f"), "finn: "),
        (
            ("verify", "--backend", "finn"),
            "finn/verify: got {run} without a finished 'finn/build', must come after it; run `bitloom build {run} --backend finn`",
        ),
        (("synth", "--backend", "finn"), "synth: got --backend finn, must be rtl or hls4ml"),
    ],
)
@needs_finn
def test_what_cannot_be_done_is_one_line_and_exit_code_2(tiny_copy, bitloom, argv, expected):
    code, _, err = bitloom(argv[0], tiny_copy, *argv[1:])
    assert code == 2 and err.startswith("bitloom: " + expected.format(run=tiny_copy)) and err.count("\n") == 1, err


REFUSED = ("border", "concat", "lstm", "token_window", "upsample", "window_max", "window_mean")


def test_operators_that_finn_does_not_have_are_one_line_and_exit_code_2(tiny_copy, bitloom, monkeypatch):
    """And the run stays as it was."""
    monkeypatch.setattr(tool, "installed", lambda: tool.VERSION)  # nothing of it is needed
    for op in REFUSED:
        graph = replace(cases(op)[0].graph, max_tokens=24)
        with monkeypatch.context() as patch:
            patch.setattr(Context, "graph", graph)
            code, _, err = bitloom("build", tiny_copy, *BUILD)
        assert (code, err) == (
            2,
            f"bitloom: finn: y: got operator '{op}', must have a form in FINN's nodes (finn in hw/ops/{op}.py); use another backend\n",
        )
    assert not (tiny_copy / "finn" / "build").exists()


def test_packs_are_one_line_and_exit_code_2(tiny_copy, bitloom, monkeypatch):
    monkeypatch.setattr(tool, "installed", lambda: tool.VERSION)
    monkeypatch.setattr(Context, "folding", replace(Folding.load(tiny_copy / "build" / "folding.json"), pack=True))
    code, _, err = bitloom("build", tiny_copy, *BUILD)
    assert (code, err) == (2, "bitloom: finn: got hardware.pack, must be sentences alone; remove it, or use the rtl backend\n")


@pytest.mark.parametrize(("version", "got"), [("", "got no finn-plus"), ("1.5.0", "got version 1.5.0")])
def test_without_finn_or_with_another_version(tiny_copy, bitloom, monkeypatch, version, got):
    monkeypatch.setattr(tool, "installed", lambda: version)
    code, _, err = bitloom("build", tiny_copy, *BUILD)
    assert code == 2 and got in err and tool.INSTALL in err and err.count("\n") == 1, err
