// SPDX-License-Identifier: Apache-2.0
// product_reg: a register behind a multiplier: q takes d in every cycle with `en`, else it stays
// Method : as hw/rtl/product_reg.sv, in whose place it stands for iCE40: SB_MAC16's output register has an enable of its own, so no copy repeats what
//          `en` holds back
// Timing : latency 1
// Reset  : none
module product_reg #(
  parameter int W = 18  // bits
) (
  input  wire logic         clk,
  input  wire logic         en,
  input  wire logic [W-1:0] d,
  output      logic [W-1:0] q
);
  always_ff @(posedge clk) if (en) q <= d;
endmodule
