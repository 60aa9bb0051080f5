// SPDX-License-Identifier: Apache-2.0
// bench_control: reset, cycle count, settings and the end of a simulation
// Settings are plusargs: +stall_in, +stall_out (0 .. 65535 in 65536 of all cycles), +bench_seed,
//   +expect (beats at all sinks together), +timeout and +drain (cycles), +resets and +reset_within (cycles), +reset_cycles
// Resets: after that at power-up, `resets` more, each 1 .. reset_within cycles (random) after the one before; each lasts
//   reset_cycles. Sources then begin anew, so every run but the last is one that was broken off. Registers are random at power-up.
// The end: in the last run, `done` rises when nothing has moved for `drain` cycles although all expected beats have arrived
//   (the wait is what finds extra beats), or when nothing has moved for `timeout` cycles; in any, on a fault. The file
//   bench.cycles then says how many cycles there were in all, and in the last run.
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
  logic [31:0] expected, timeout, drain, resets_left, most, length, got_q, idle_q, arriving, total_q, held_q, random_q, until_q;
  integer report;

  // xorshift32 (Marsaglia 2003)
  function automatic logic [31:0] next(input logic [31:0] x);
    logic [31:0] y;
    y = x ^ (x << 13);
    y = y ^ (y >> 17);
    next = y ^ (y << 5);
  endfunction

  initial begin
    if (!$value$plusargs("stall_in=%d", stall_in)) stall_in = 16'd0;
    if (!$value$plusargs("stall_out=%d", stall_out)) stall_out = 16'd0;
    if (!$value$plusargs("bench_seed=%d", seed)) seed = 32'd0;
    if (!$value$plusargs("expect=%d", expected)) expected = 32'd0;
    if (!$value$plusargs("timeout=%d", timeout)) timeout = 32'd20000;
    if (!$value$plusargs("drain=%d", drain)) drain = 32'd1000;
    if (!$value$plusargs("resets=%d", resets_left)) resets_left = 32'd0;
    if (!$value$plusargs("reset_within=%d", most)) most = 32'd1;
    if (!$value$plusargs("reset_cycles=%d", length)) length = 32'd1;
    rst = 1'b1;
    held_q = 32'd1;
    total_q = 32'd0;
    done = 1'b0;
    random_q = next(next((seed * 32'd2654435761) | 32'd1));
    until_q = random_q % most;
  end

  always_comb begin
    arriving = 32'd0;
    for (int i = 0; i < SINKS; i++) arriving = arriving + 32'(moved[i]);
  end

  always @(posedge clk) begin
    total_q <= total_q + 32'd1;
    if (rst) begin
      rst <= held_q < length;
      held_q <= held_q + 32'd1;
      cycle <= 31'd0;
      got_q <= 32'd0;
      idle_q <= 32'd0;
    end else begin
      cycle <= cycle + 31'd1;
      got_q <= got_q + arriving;
      idle_q <= |moved ? 32'd0 : idle_q + 32'd1;
      if (!done && (fault || (resets_left == 32'd0 && (idle_q >= timeout || (idle_q >= drain && got_q >= expected) || &cycle[30:1])))) begin
        done <= 1'b1;
        report = $fopen("bench.cycles", "w");
        $fdisplay(report, "%0d %0d", total_q, cycle);
        $fclose(report);
      end else if (resets_left != 32'd0 && 32'(cycle) >= until_q) begin
        rst <= 1'b1;
        held_q <= 32'd1;
        resets_left <= resets_left - 32'd1;
        random_q <= next(random_q);
        until_q <= next(random_q) % most;
      end
    end
  end
endmodule
