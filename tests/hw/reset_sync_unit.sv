// SPDX-License-Identifier: Apache-2.0
// A beat a cycle: s_data = {button, ready}, m_data = {held, the reset in the same cycle}. Before the first beat the clock is not stable.
// held: clock edges from power-up to the end of the reset, where clock and button are good from the beginning.
module reset_sync_unit #(
  parameter int COUNT_W = 3
) (
  input  wire logic       clk,
  input  wire logic       rst,
  input  wire logic       s_valid,
  output logic            s_ready,
  input  wire logic [1:0] s_data,
  input  wire logic       s_last,
  output logic            m_valid,
  input  wire logic       m_ready,
  output logic [7:0]      m_data,
  output logic            m_last
);
  logic on, reset;
  /* verilator lint_off PROCASSINIT */  // from power-up on
  logic [6:0] held_q = '0;
  /* verilator lint_on PROCASSINIT */

  assign s_ready = m_ready;
  assign m_valid = s_valid;
  assign m_last = s_last;
  assign m_data = {held_q, reset};
  always_ff @(posedge clk) if (on) held_q <= held_q + 1'b1;

  reset_sync #(.COUNT_W(COUNT_W)) power_up (.clk, .ready(1'b1), .button(1'b0), .rst(on));
  reset_sync #(.COUNT_W(COUNT_W)) dut (.clk, .ready(s_valid && s_data[0]), .button(s_data[1]), .rst(reset));
  wire unused = rst;
endmodule
