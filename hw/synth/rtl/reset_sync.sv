// SPDX-License-Identifier: Apache-2.0
// reset_sync: a board's reset for the design: held for 2**COUNT_W cycles after power-up, after the clock is lost, and after the button
// Timing : rst is a register; it ends 2**COUNT_W + 2 cycles after `ready` is high and `button` low
// Reset  : none: it is the reset. The registers begin at 0 by the bitstream, which is `rst` active.
module reset_sync #(
  parameter int COUNT_W = 8
) (
  input  wire logic clk,
  input  wire logic ready,   // the clock is stable; may change at any time
  input  wire logic button,  // 1: pressed; may change at any time
  output logic      rst
);
  /* verilator lint_off PROCASSINIT */  // the initial values are the power-up reset
  logic [1:0] good_q = '0;           // two registers against metastability
  logic [COUNT_W-1:0] count_q = '0;  // cycles without a reason for reset
  logic run_q = '0;
  /* verilator lint_on PROCASSINIT */

  always_ff @(posedge clk) begin
    good_q <= {good_q[0], ready && !button};
    count_q <= !good_q[1] ? '0 : count_q + COUNT_W'(!run_q);
    run_q <= good_q[1] && (run_q || &count_q);
  end
  assign rst = !run_q;
endmodule
