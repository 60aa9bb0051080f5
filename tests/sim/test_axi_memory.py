# SPDX-License-Identifier: Apache-2.0
"""axi_memory: bytes of an image, counts of what was read, and a master that breaks the protocol is told so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axi_bench import BYTES, RTL, Setup, check_data

from bitloom.sim.errors import SimulationError
from bitloom.sim.runner import HDL, Model, build, run
from bitloom.sim.unit import UnitCase, run_units

PLAIN = Setup(clients=1, requests=(np.array([[64, 40], [0, 3]]),))


def case(errors: int = 0) -> UnitCase:
    """One client's requests of a memory that is image.bin; errors: how many are told, 0 or 1."""
    made = PLAIN.case()
    params = {key: value for key, value in made.params.items() if key != "HEX"} | {"IMAGE": "image.bin"}
    return replace(made, params=params, more_outputs=(*made.more_outputs[:2], (made.more_outputs[2][0], errors)))


def test_bytes_of_an_image_and_how_often_each_beat_was_read(tmp_path):
    """The counts are those of the run after the last reset."""
    (tmp_path / "image.bin").write_bytes(PLAIN.words.astype("<u4").tobytes())
    check_data(PLAIN, run_units([case()], RTL, drain_cycles=300, resets=3, folder=tmp_path)[0], "image")
    counts = np.fromfile(tmp_path / "memory.fetched", dtype=np.uint32)
    want = np.zeros(BYTES // 8, int)
    want[8:48], want[:3] = 1, 1
    assert np.array_equal(counts, want)


def test_random_errors(tmp_path):
    """Half of the beats are SLVERR, so one of the first bursts'."""
    (tmp_path / "image.bin").write_bytes(PLAIN.words.astype("<u4").tobytes())
    result = run_units([case(1)], RTL, drain_cycles=300, more={"memory_errors": 32768}, folder=tmp_path)[0]
    code, address = int(result.more[-1].beats[0, 0]) & 7, int(result.more[-1].beats[0, 0]) >> 3
    assert code == 2 and address in (64, 128)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SimulationError, match="axi_memory memory: got image.bin, must be a file"):
        run_units([case()], RTL, folder=tmp_path)


MASTER = """\
module bench (output logic done);
  logic clk = 1'b0, rst = 1'b1, arready, rid, rlast, rvalid;
  logic [63:0] rdata;
  logic [1:0] rresp;
  int step = 0;
  initial begin
    done = 1'b0;
    forever #1 clk = !clk;
  end
  axi_memory #(.HEX("words.hex"), .BYTES(16384), .BUSY(65536)) memory (.clk, .rst, .s_axi_arid(1'b0), .s_axi_araddr(addr), .s_axi_arlen(len),
    .s_axi_arsize(size), .s_axi_arburst(burst), .s_axi_arvalid(valid), .s_axi_arready(arready), .s_axi_rid(rid), .s_axi_rdata(rdata),
    .s_axi_rresp(rresp), .s_axi_rlast(rlast), .s_axi_rvalid(rvalid), .s_axi_rready(1'b1));
  logic valid = 1'b0;
  logic [31:0] addr = 32'd4096;
  logic [7:0] len = 8'd7;
  logic [2:0] size = 3'd3;
  logic [1:0] burst = 2'b01;
  int fault;
  initial if (!$value$plusargs("fault=%d", fault)) fault = 0;
  always @(posedge clk) begin
    step <= step + 1;
    rst <= step < 2;
    valid <= step >= 4 && !(step >= 8 && fault == 1);
    if (step == 8 && fault == 2) addr <= 32'd0;
    if (step == 8 && fault == 3) len <= 8'd6;
    if (fault == 4) {addr, len} <= {32'd8184, 8'd1};
    if (fault == 5) addr <= 32'd4100;
    if (fault == 6) burst <= 2'b00;
    if (fault == 7) size <= 3'd2;
    if (fault == 8) addr <= 32'd16384;
    if (step == 30) done <= 1'b1;
  end
endmodule
"""
FAULTS = [
    "got arvalid 0, araddr 00001000, arlen 7, must stay 1, 00001000, 7 until arready",
    "got arvalid 1, araddr 00000000, arlen 7, must stay 1, 00001000, 7 until arready",
    "got arvalid 1, araddr 00001000, arlen 6, must stay 1, 00001000, 7 until arready",
    "got 2 beats at 00001ff8, must not cross 4 KiB",
    "got araddr 00001004, must be a multiple of 8",
    r"got arburst 00, arsize 3, must be 01 \(INCR\), 3",
    r"got arburst 01, arsize 2, must be 01 \(INCR\), 3",
    "got 8 beats at 00004000, must end within 16384 bytes",
]


@pytest.fixture(scope="module")
def master() -> Path:
    return build(Model(sources=(HDL / "bench.vlt", HDL / "axi_memory.sv"), generated={"bench.sv": MASTER}))


@pytest.mark.parametrize("fault", [pytest.param(number, marks=() if number in (0, 1, 4) else pytest.mark.slow) for number in range(len(FAULTS) + 1)])
def test_a_broken_protocol_is_told(fault, master, tmp_path):
    """Fault 0 is none."""
    (tmp_path / "words.hex").write_text("0\n" * 2048)
    if not fault:
        return run(master, tmp_path, {"fault": 0})
    with pytest.raises(SimulationError, match=FAULTS[fault - 1]):
        run(master, tmp_path, {"fault": fault})
