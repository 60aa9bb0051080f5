// SPDX-License-Identifier: Apache-2.0
// bench_tap: records every beat of a stream in NAME.tap and watches the stream's rules
// File : a record a beat, 32-bit words in the machine's byte order: {last, cycle}, data (lowest word first)
//        A reset, but for that at power-up: {all ones}, cycles of the run that it ended, zeros.
// Rules: while valid and not ready, the next cycle holds valid, data and last; no more beats come in a run than +beats_NAME says, so that
//        a record has an end. The first break is written to NAME.fault as "<cycle> <what>" and raises `fault`.
module bench_tap #(
  parameter int WIDTH = 8,   // bits of data
  parameter NAME = "tap"
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic [30:0]      cycle,
  input  wire logic             valid,
  input  wire logic             ready,
  input  wire logic [WIDTH-1:0] data,
  input  wire logic             last,
  output logic                  moved,
  output logic                  fault
);
  localparam int Words = (WIDTH + 31) / 32;

  logic [32*Words-1:0] padded;
  logic [WIDTH-1:0] data_q;
  logic last_q, stalled_q, ran_q;  // ran_q: there was a cycle out of reset
  logic [31:0] beats_q, limit;
  integer file, report;

  assign moved = valid && ready && !rst;
  assign padded = {{(32 * Words - WIDTH) {1'b0}}, data};

  initial begin
    file = $fopen({NAME, ".tap"}, "wb");
    if (!$value$plusargs({"beats_", NAME, "=%d"}, limit)) $fatal(1, "bench_tap %s: got no +beats_%s, must say how many beats may come", NAME, NAME);
    fault = 1'b0;
    ran_q = 1'b0;
  end

  task automatic broken(input string what);
    if (!fault) begin
      report = $fopen({NAME, ".fault"}, "w");
      $fdisplay(report, "%0d %s", cycle, what);
      $fclose(report);
    end
    fault <= 1'b1;
  endtask

  always @(posedge clk) begin
    ran_q <= !rst;
    if (rst) begin
      stalled_q <= 1'b0;
      beats_q <= 32'd0;
      if (ran_q) begin
        $fwrite(file, "%u%u", 32'hFFFFFFFF, {1'b0, cycle});
        for (int i = 1; i < Words; i++) $fwrite(file, "%u", 32'd0);
      end
    end else begin
      if (moved) begin
        beats_q <= beats_q + 32'd1;
        $fwrite(file, "%u", {last, cycle});
        for (int i = 0; i < Words; i++) $fwrite(file, "%u", padded[32*i+:32]);
      end
      if (stalled_q && !valid) broken("valid dropped before the beat moved");
      else if (stalled_q && data != data_q) broken("data changed while stalled");
      else if (stalled_q && last != last_q) broken("last changed while stalled");
      else if (moved && beats_q >= limit) broken($sformatf("beat %0d came, must be at most %0d", beats_q + 32'd1, limit));
      stalled_q <= valid && !ready;
      if (valid && !ready) begin
        data_q <= data;
        last_q <= last;
      end
    end
  end
endmodule
