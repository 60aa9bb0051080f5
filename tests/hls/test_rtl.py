# SPDX-License-Identifier: Apache-2.0
"""The bench on what Vitis HLS would have generated: it takes the module's ports, compares what leaves, counts cycles, and finds planted faults.

The module is stand_in.v, written by hand, around an encoder of the own RTL: Vitis HLS is not needed, nor was it there.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from encoders import random_encoder, random_sentences
from hls_verilog import write_verilog

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.errors import BuildError, SimulationError
from bitloom.sim.hls_rtl import Port, adapter_text, read_ports, run_rtl
from bitloom.sim.verify import compare

LENGTHS = [5, 1, 8, 3]
SHAPE = dict(layers=1, hidden=16, heads=2, intermediate=24, max_tokens=8, labels=3)


@dataclass(frozen=True, kw_only=True)
class Encoder:
    graph: Graph
    folding: Folding
    folder: Path  # of the own RTL
    sentences: list[np.ndarray]
    tensors: dict[str, np.ndarray]

    @property
    def design(self) -> Design:
        return Design(self.graph, self.folding)


@pytest.fixture(scope="module", params=["sequence", pytest.param("token", marks=pytest.mark.slow)])
def encoder(request, tmp_path_factory) -> Encoder:
    graph = random_encoder(seed=11, head=request.param, **SHAPE)
    folder = tmp_path_factory.mktemp("own")
    folding = build(graph, HardwareConfig(target_cycles=150), folder)
    assert folding.lanes[graph.entry] > 1
    tensors = golden.run(graph, *random_sentences(graph, LENGTHS))
    sentences = np.split(tensors[graph.entry], np.cumsum(LENGTHS)[:-1])
    return Encoder(graph=graph, folding=folding, folder=folder, sentences=sentences, tensors=tensors)


def verify(encoder: Encoder, folder: Path, fault: str = "none", beat: int = 0, **settings):
    verilog = write_verilog(encoder.design, encoder.folder, folder / "verilog", fault=fault, beat=beat)
    run = run_rtl(verilog, encoder.design, encoder.sentences, Options(folder=folder / "work", timeout_cycles=20_000, drain_cycles=200, **settings))
    return run, compare(encoder.graph, encoder.tensors, run, taps=False)


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.6)])
def test_equal_to_the_golden_model_and_cycles(encoder, tmp_path, stalls):
    run, report = verify(encoder, tmp_path, stall_in=stalls[0], stall_out=stalls[1], seed=3)
    values = encoder.tensors["logits"].size
    assert report.ok and report.values_compared == values and str(report) == f"{values} values compared, 0 mismatches"
    own = run_encoder(encoder.folder, encoder.sentences, Options(stall_in=stalls[0], stall_out=stalls[1], seed=3, taps=False))
    assert run.out_last_cycle.tolist() == own.out_last_cycle.tolist() and run.in_first_cycle.tolist() == own.in_first_cycle.tolist()
    assert not run.streams


def test_wrong_value_names_its_place(encoder, tmp_path):
    """Output beat 5 of one lane and 3 channels: sentence 1 channel 2, or token 1 of sentence 0."""
    _, report = verify(encoder, tmp_path, fault="value", beat=5)
    place = "sentence 1 token 0 channel 2" if encoder.graph.tensor("logits").kind == "sentence" else "sentence 0 token 1 channel 2"
    assert not report.ok and report.mismatches == 1 and f"first at m_axis: {place} (lane 0): value: got" in str(report)
    assert report.first.got == report.first.want ^ 4


def test_missing_last(encoder, tmp_path):
    beat = (1 if encoder.graph.tensor("logits").kind == "sentence" else LENGTHS[0]) * 3 - 1
    _, report = verify(encoder, tmp_path, fault="last", beat=beat)
    assert not report.ok and (report.first.what, report.first.sentence, report.first.got, report.first.want) == ("last", 0, 0, 1)


def test_hang(encoder, tmp_path):
    _, report = verify(encoder, tmp_path, fault="hang", beat=7)
    assert not report.ok and re.search(r"7 of \d+ output beats came, \d of 4 sentences were taken, then nothing moved", report.problem)
    assert report.first.got is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("s_axis_TDATA;", "s_axis_TDATA_V;"), "got port s_axis_TDATA without a plain declaration"),
        (("        ap_rst_n,\n", ""), "port ap_rst_n: got none, must be input of 1 bits"),
        (("        ap_clk,\n", "        ap_clk,\n        ap_start,\n        ap_done,\n"), "got port ap_start without a plain declaration"),
        (("input   ap_clk;", "input   ap_clk;\ninput ap_start;"), None),  # declared, but not in the port list: some other module's
        (("module encoder (", "module encoder_top ("), "without a module `encoder`, must have one"),
    ],
)
def test_other_ports(encoder, tmp_path, change, message):
    verilog = write_verilog(encoder.design, encoder.folder, tmp_path / "verilog", change=change)
    if message is None:
        assert "ap_start" not in read_ports(verilog / "encoder.v")
        return
    with pytest.raises(BuildError, match=re.escape(message)):
        run_rtl(verilog, encoder.design, encoder.sentences)


def test_width_of_another_folding(encoder, tmp_path):
    lanes = encoder.folding.lanes[encoder.graph.entry]
    verilog = write_verilog(encoder.design, encoder.folder, tmp_path / "verilog", change=(f"[{lanes * 16 - 1}:0] s_axis_TDATA", "[95:0] s_axis_TDATA"))
    with pytest.raises(BuildError, match=rf"port s_axis_TDATA: got input of 96 bits, must be input of {lanes * 16} bits; synthesize the project"):
        run_rtl(verilog, encoder.design, encoder.sentences)


def test_block_level_handshake(encoder, tmp_path):
    """ap_ctrl_hs: nobody would press start."""
    change = ("        ap_clk,\n        ap_rst_n,\n", "        ap_clk,\n        ap_rst_n,\n        ap_start,\n")
    verilog = write_verilog(encoder.design, encoder.folder, tmp_path / "verilog", change=change)
    (verilog / "encoder.v").write_text((verilog / "encoder.v").read_text().replace("input   ap_clk;", "input   ap_clk;\ninput   ap_start;"))
    with pytest.raises(BuildError, match=r"got port ap_start, must be clock, reset and the streams only \(ap_ctrl_none\)"):
        run_rtl(verilog, encoder.design, encoder.sentences)


def test_nothing_synthesized(encoder, tmp_path):
    with pytest.raises(BuildError, match=r"got no .*encoder.v, must be the Verilog of Vitis HLS; run `bitloom synth RUN --backend hls4ml`"):
        run_rtl(tmp_path, encoder.design, encoder.sentences)


def test_codes_out_of_range(encoder, tmp_path):
    with pytest.raises(SimulationError, match="got codes 512 .. 512, must be -512 .. 511"):
        run_rtl(tmp_path, encoder.design, [np.full((1, SHAPE["hidden"]), 512)])


def test_declarations_in_the_port_list(tmp_path):
    """The other way to write Verilog; comments and attributes are no ports."""
    path = tmp_path / "encoder.v"
    path.write_text(
        "/* module encoder (x); */\nmodule encoder (\n  (* x = 1 *) input wire ap_clk, // clock, really\n  output reg [15:0] m_axis_TDATA\n);\nendmodule\n"
    )
    assert read_ports(path) == {"ap_clk": Port("input", 1), "m_axis_TDATA": Port("output", 16)}


def test_sideband(encoder):
    """What is not there is not connected; inputs that are there are tied, outputs left open."""
    first, last = encoder.design.entry, encoder.design.outputs[0]
    ports = {"ap_clk": Port("input", 1), "s_axis_TKEEP": Port("input", 2), "s_axis_TID": Port("input", 1), "m_axis_TKEEP": Port("output", 2)}
    text = adapter_text(ports, first, last, "0123456789abcdef")
    assert ".ap_clk(clk),\n    .s_axis_TKEEP('1),\n    .s_axis_TID('0),\n    .m_axis_TKEEP());" in text
