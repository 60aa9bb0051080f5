// SPDX-License-Identifier: Apache-2.0
// bench_control: reset, cycle count, settings and the end of a simulation
// Settings are plusargs: +stall_in, +stall_out (0 .. 65535 in 65536 of all cycles), +bench_seed,
//   +expect (beats at all sinks together), +timeout and +drain (cycles)
// The end: `done` rises when nothing has moved for `drain` cycles although all expected beats have arrived
//   (the wait is what finds extra beats), when nothing has moved for `timeout` cycles, or on a fault. The file
//   bench.cycles then says how many cycles there were.
module bench_control #(
  parameter int STREAMS = 1,  // monitored streams
  parameter int SINKS = 1     // sinks, their `moved` are the lowest bits
) (
  input  wire logic          clk,
  output logic               rst,
  output logic [30:0]        cycle,      // cycles since reset
  output logic [15:0]        stall_in,
  output logic [15:0]        stall_out,
  output logic [31:0]        seed,
  input  wire logic [STREAMS-1:0] moved, // a beat moves in this cycle
  input  wire logic          fault,      // a stream rule was broken
  output logic               done
);
  localparam int ResetCycles = 4;

  logic [31:0] expected, timeout, drain, got_q, idle_q, arriving;
  logic [2:0] reset_q;
  integer report;

  initial begin
    if (!$value$plusargs("stall_in=%d", stall_in)) stall_in = 16'd0;
    if (!$value$plusargs("stall_out=%d", stall_out)) stall_out = 16'd0;
    if (!$value$plusargs("bench_seed=%d", seed)) seed = 32'd0;
    if (!$value$plusargs("expect=%d", expected)) expected = 32'd0;
    if (!$value$plusargs("timeout=%d", timeout)) timeout = 32'd20000;
    if (!$value$plusargs("drain=%d", drain)) drain = 32'd1000;
    rst = 1'b1;
    reset_q = 3'd0;
    done = 1'b0;
  end

  always_comb begin
    arriving = 32'd0;
    for (int i = 0; i < SINKS; i++) arriving = arriving + 32'(moved[i]);
  end

  always @(posedge clk) begin
    reset_q <= reset_q + 3'd1;
    if (rst) begin
      rst <= reset_q != 3'(ResetCycles);
      cycle <= 31'd0;
      got_q <= 32'd0;
      idle_q <= 32'd0;
    end else begin
      cycle <= cycle + 31'd1;
      got_q <= got_q + arriving;
      idle_q <= |moved ? 32'd0 : idle_q + 32'd1;
      if (!done && (fault || idle_q >= timeout || (idle_q >= drain && got_q >= expected) || &cycle)) begin
        done <= 1'b1;
        report = $fopen("bench.cycles", "w");
        $fdisplay(report, "%0d", cycle);
        $fclose(report);
      end
    end
  end
endmodule
