// SPDX-License-Identifier: Apache-2.0
// reset_high: an active-low reset, synchronous to clk, as the active-high one of the RTL library
// Timing : latency 1, so that the encoder's large reset net starts at a register. Before the first clock edge: in reset
module reset_high (
  input  wire logic clk,
  input  wire logic resetn,
  output      logic rst
);
  initial rst = 1'b1;
  always_ff @(posedge clk) rst <= !resetn;
endmodule
