// SPDX-License-Identifier: Apache-2.0
// product_reg: a register behind a multiplier: q takes d in every cycle with `en`, else it stays
// Method : `free_q` has neither enable nor reset, so that it can be the multiplier's own output register, where neighbours share
//          enables (ECP5: hw/synth/registers.py); what `en` holds back is repeated from a copy
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
  logic [W-1:0] free_q, held_q;
  logic en_q;

  always_ff @(posedge clk) begin
    free_q <= d;
    held_q <= q;
    en_q <= en;
  end
  assign q = en_q ? free_q : held_q;
endmodule
